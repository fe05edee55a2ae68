"""What clients can follow: the stream of a sandbox, and how the journal shows in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ciab.core.ids import SandboxId
from ciab.core.journal import Entry, Noted, StepMoved
from ciab.core.sandbox import Sandbox
from ciab.core.states import State

Data = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Ids are ordered within a sandbox and kept in the database; replay goes on from any of them."""

    id: int
    sandbox_id: SandboxId
    event_type: str
    data: Data = field(hash=False)
    timestamp: datetime


def events_of(before: State | None, after: Sandbox, entries: Iterable[Entry]) -> list[tuple[str, Data]]:
    """Types and data of the events that saving `after` over `before` with `entries` gives, in order."""
    events: list[tuple[str, Data]] = [
        ("provisioning_step", _step(entry)) for entry in entries if isinstance(entry, StepMoved)
    ]
    events += [
        ("sandbox_warning", {"code": entry.action, "message": entry.message})
        for entry in entries
        if isinstance(entry, Noted) and entry.shown
    ]
    if before is not after.state:
        change = {
            "from": before,
            "to": after.state,
            "failure": _failure(after),
            "reason": after.reason,
        }
        events.append(("sandbox_state_changed", change))
        if before is State.CREATING and after.state is State.RUNNING:
            events.append(("provisioning_complete", {}))
        if before in (State.PENDING, State.CREATING) and after.failure:
            events.append(("provisioning_failed", {"failure": _failure(after)}))
    return events


def _step(entry: StepMoved) -> Data:
    data: dict[str, object] = {"step": entry.step, "status": entry.status}
    if entry.message is not None:
        data["message"] = entry.message
    if entry.elapsed_ms is not None:
        data["elapsed_ms"] = entry.elapsed_ms
    return data


def _failure(sandbox: Sandbox) -> Data | None:
    failure = sandbox.failure
    if failure is None:
        return None
    return {"step": failure.step, "code": failure.code, "message": failure.message, "hint": failure.hint}
