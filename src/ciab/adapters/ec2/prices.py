"""The port `Prices` on EC2: the configured prices over the built-in table, disk and address added.

The table is that of us-east-1 and counts in every region: most others cost more, and
`[runtime.ec2.prices]` says how much. Under `backend = "local"`, where nothing costs anything, the same prices
count, so that budgets can be tried. Of a spot machine the price is an upper bound: `spot_max_price`, or else
the on-demand price, which the market price does not exceed.
"""

from ciab.adapters.ec2.price_table import (
    ADDRESS_HOUR,
    FREE_IOPS,
    HOURS_A_MONTH,
    IOPS_MONTH,
    VOLUME_GIB_MONTH,
    on_demand,
)
from ciab.adapters.ec2.request import candidates
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.machine import Machine, MachineState
from ciab.core.spec import Spec


class Ec2Prices:
    """See `Prices`. The disk is the root volume as the configuration has it now; traffic is not counted."""

    def __init__(self, settings: Ec2Settings) -> None:
        self._settings = settings

    def running(self, machine: Machine) -> float | None:
        """See `Prices.running`. A machine that does not run yet is expected to get the usual address."""
        expected = machine.state is not MachineState.RUNNING and self._settings.associate_public_ip
        return self._hourly(machine.type, spot=machine.spot, address=bool(machine.public_ip) or expected)

    def stopped(self, machine: Machine) -> float | None:
        """See `Prices.stopped`. Always known: it does not depend on the type."""
        return self._disk()

    def asked(self, spec: Spec) -> float | None:
        """See `Prices.asked`: the dearest of all that may be tried, where each has a price."""
        address = self._settings.associate_public_ip
        dearest = 0.0
        for candidate in candidates(spec, self._settings, spec.ec2.region or self._settings.region):
            price = self._hourly(candidate.instance_type, spot=candidate.spot, address=address)
            if price is None:
                return None
            dearest = max(dearest, price)
        return dearest

    def _hourly(self, instance_type: str, *, spot: bool, address: bool) -> float | None:
        price = self._settings.prices.get(instance_type, on_demand(instance_type))
        if spot and self._settings.spot_max_price:
            price = float(self._settings.spot_max_price)
        return None if price is None else price + self._disk() + (ADDRESS_HOUR if address else 0.0)

    def _disk(self) -> float:
        kind = self._settings.root_volume_type
        paid_iops = max(0, self._settings.root_volume_iops - FREE_IOPS.get(kind, 0))
        size = self._settings.root_volume_size_gb * VOLUME_GIB_MONTH[kind]
        return (size + paid_iops * IOPS_MONTH.get(kind, 0)) / HOURS_A_MONTH
