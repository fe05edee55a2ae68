"""The sandbox: a frozen value with a state, and the only way to change that state."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from ciab.core.errors import InvalidState
from ciab.core.ids import SandboxId
from ciab.core.machine import Machine, MachineImage, Site
from ciab.core.spec import Spec
from ciab.core.states import LIVE, MOVES, MOVING, State


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sandbox failed, or why its last start did."""

    step: str | None
    code: str
    message: str
    hint: str | None = None
    console: str | None = None
    """The last lines that the machine's console showed, where a machine was made and did not come up."""
    cloud_init: str | None = None
    """The last lines of cloud-init's log, where the machine let us in."""


class Held(StrEnum):
    """How a paused sandbox is held, decided when the pause was asked for."""

    STOPPED = "stopped"
    HIBERNATED = "hibernated"
    FROZEN = "frozen"
    """Its machine runs and its processes do not."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What the sandbox costs from a moment on. Dollars an hour; None: no price is known."""

    usd_hour: float | None
    since: datetime


class InvalidTransition(InvalidState):
    """A move that the table does not have."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One isolated machine for one agent. Facts are typed fields, filled in by the steps."""

    id: SandboxId
    name: str
    spec: Spec
    state: State
    created_at: datetime
    updated_at: datetime
    version: int = 0
    """Counts saves; `store.save` is a compare-and-set on it."""
    ran: bool = False
    """Has once been running: a failure never destroys it any more."""
    failure: Failure | None = None
    reason: str | None = None
    """Why it went into this state, when nobody asked for that: idle, over budget, its lifetime."""
    site: Site | None = None
    image: MachineImage | None = None
    machine: Machine | None = None
    held: Held | None = None
    boot: str | None = None
    """The boot that was hibernated; see Pulse."""
    release: bool = False
    """Its user deleted it and the machine is to be left to them, stopped."""
    recovered_from: SandboxId | None = None
    expires_at: datetime | None = None
    """The end of its lifetime, on the clock that never jumps."""
    meter: Meter | None = None
    """What it costs now, on the clock of bills."""

    def to(self, state: State, failure: Failure | None = None, reason: str | None = None) -> "Sandbox":
        """Move to `state`. Raises InvalidTransition when the table does not have the move.

        A failure stays until another comes, or until it is told to end for another reason; a reason stays
        until the sandbox goes on to a state that does not follow by itself.
        """
        if state not in MOVES[self.state]:
            raise InvalidTransition(
                f"sandbox {self.name} is {self.state} and cannot become {state}",
                hint=_hint(self.state),
            )
        follows = self.state in MOVING and state is not State.TERMINATING
        return replace(
            self,
            state=state,
            failure=failure if state is State.TERMINATING else failure or self.failure,
            reason=reason or (self.reason if follows else None),
            ran=self.ran or state is State.RUNNING,
        )

    @property
    def live(self) -> bool:
        """Whether a machine of it may exist."""
        return self.state in LIVE


def _hint(state: State) -> str | None:
    moves = sorted(str(move) for move in MOVES[state])
    return f"from {state} it can become: {', '.join(moves)}" if moves else "it has ended; create a new one"
