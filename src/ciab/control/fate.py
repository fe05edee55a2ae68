"""What became of a machine that CIAB did not end or stop, in words, by the provider's own reason."""

from ciab.core.errors import MachineEnded, MachineStopped, RuntimeRejected, SpotInterrupted
from ciab.core.machine import Cause, Machine, MachineState

OVER = frozenset({MachineState.ENDING, MachineState.ENDED})
"""It never comes back, and its disk is gone."""

GONE = OVER | {MachineState.STOPPING, MachineState.STOPPED}
"""A machine in one of these will not come up by waiting."""


def end_of(machine: Machine) -> MachineEnded:
    """Why a machine that is over ended."""
    told = f" ({machine.reason})" if machine.reason else ""
    if machine.cause is Cause.SPOT:
        return SpotInterrupted(
            f"the provider took the spot machine {machine.id} back{told}",
            hint="'ciab sandbox recover' makes a new one from the same spec; --no-spot makes it stay",
        )
    if machine.cause is Cause.ITSELF:
        return MachineEnded(
            f"machine {machine.id} ended itself: it was shut down from the inside, by a command or by the "
            f"switch that ends a machine whose server was away too long{told}",
            hint="'ciab sandbox recover' makes a new one from the same spec; a persistent one keeps its disk",
        )
    who = "the provider ended" if machine.cause is Cause.PROVIDER else "somebody outside CIAB terminated"
    return MachineEnded(
        f"{who} machine {machine.id}{told}", hint="'ciab sandbox recover' makes a new one from the same spec"
    )


def stop_of(machine: Machine) -> MachineStopped:
    """Why a machine that is stopped stopped."""
    told = f" ({machine.reason})" if machine.reason else ""
    if machine.cause is Cause.ITSELF:
        what = f"machine {machine.id} stopped itself: it was shut down from the inside"
    elif machine.cause is Cause.PROVIDER:
        what = f"the provider stopped machine {machine.id}"
    else:
        what = f"somebody outside CIAB stopped machine {machine.id}"
    return MachineStopped(f"{what}{told}", hint="its disk is intact: start the sandbox again")


def ensure_alive(machine: Machine) -> None:
    """Raises the reason, in the provider's words, for a machine that will not come up."""
    if machine.state in OVER:
        raise end_of(machine)
    if machine.state in GONE:
        raise RuntimeRejected(
            f"machine {machine.id} is {machine.state}: {machine.reason or 'no reason was given'}",
            hint="somebody or something outside CIAB stopped it, or it could not boot",
        )
