"""What a sandbox costs from now on: the meter that is set whenever its machine begins or ends to cost."""

from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum

from ciab.control.work import Ports
from ciab.core.sandbox import Meter, Sandbox


class Bill(Enum):
    """What the provider charges for."""

    RUNNING = "running"
    DISK = "disk"
    NOTHING = "nothing"


def metered(sandbox: Sandbox, ports: Ports, bill: Bill, since: datetime | None = None) -> Sandbox:
    """The sandbox with the meter that fits its machine now, or since a moment of the clock of bills. The
    same price goes on as it was: a step that is repeated after a crash does not begin anew."""
    if sandbox.machine is None:
        return sandbox
    price: float | None = 0.0
    if bill is Bill.RUNNING:
        price = ports.prices.running(sandbox.machine)
    elif bill is Bill.DISK:
        price = ports.prices.stopped(sandbox.machine)
    if sandbox.meter and sandbox.meter.usd_hour == price:
        return sandbox
    return replace(sandbox, meter=Meter(price, since or ports.billing.now()))


def launch_of(sandbox: Sandbox, ports: Ports) -> datetime:
    """When its machine was launched, on the clock of bills: long ago, where a crash came in between. The
    provider's clock may be wrong, but no machine is older than its sandbox."""
    now = ports.billing.now()
    if sandbox.machine is None:
        return now
    launched = max(sandbox.machine.launched_at, sandbox.created_at)
    return now - max(ports.billing.wall_of(now) - launched, timedelta(0))
