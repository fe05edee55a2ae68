"""The sandbox: a frozen value with a state, and the only way to change that state."""

from dataclasses import dataclass, replace
from datetime import datetime

from ciab.core.errors import InvalidState
from ciab.core.ids import SandboxId
from ciab.core.machine import Machine, MachineImage, Site
from ciab.core.spec import Spec
from ciab.core.states import LIVE, MOVES, State


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a sandbox failed, or why its last start did."""

    step: str | None
    code: str
    message: str
    hint: str | None = None


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
    site: Site | None = None
    image: MachineImage | None = None
    machine: Machine | None = None

    def to(self, state: State, failure: Failure | None = None) -> "Sandbox":
        """Move to `state`. Raises InvalidTransition when the table does not have the move."""
        if state not in MOVES[self.state]:
            raise InvalidTransition(
                f"sandbox {self.name} is {self.state} and cannot become {state}",
                hint=_hint(self.state),
            )
        return replace(
            self, state=state, failure=failure or self.failure, ran=self.ran or state is State.RUNNING
        )

    @property
    def live(self) -> bool:
        """Whether a machine of it may exist."""
        return self.state in LIVE


def _hint(state: State) -> str | None:
    moves = sorted(str(move) for move in MOVES[state])
    return f"from {state} it can become: {', '.join(moves)}" if moves else "it has ended; create a new one"
