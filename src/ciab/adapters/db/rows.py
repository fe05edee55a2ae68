"""Rows of everything but the sandboxes themselves, and the values in them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from ciab.adapters.db.encoding import plain, to_json, to_text
from ciab.core.events import Data, StreamEvent
from ciab.core.ids import SandboxId
from ciab.core.journal import Entry, StepMoved
from ciab.core.machine import KeyPair, LaunchAttempt, Outcome, Place, SandboxKeys
from ciab.core.ports import Anchor, Vault
from ciab.core.secret import Secret
from ciab.core.spans import Span
from ciab.core.states import State

Values = dict[str, Any]


def journal_values(
    sandbox_id: SandboxId | None,
    at: datetime,
    entries: Sequence[Entry],
    before: State | None = None,
    after: State | None = None,
) -> list[Values]:
    """The journal's rows for one save: its entries, then the change of state, if there is one."""
    blank = {"before": None, "status": None, "message": None, "elapsed_ms": None}
    rows: list[Values] = []
    for entry in entries:
        if isinstance(entry, StepMoved):
            own = {"status": entry.status.value, "elapsed_ms": entry.elapsed_ms}
            rows.append(blank | {"kind": "step", "subject": entry.step, "message": entry.message} | own)
        else:
            rows.append(blank | {"kind": "note", "subject": entry.action, "message": entry.message})
    if after is not None and before is not after:
        rows.append(blank | {"kind": "state", "subject": after.value, "before": before and before.value})
    return [{"sandbox_id": sandbox_id, "at": to_text(at)} | row for row in rows]


def event_values(event: StreamEvent) -> Values:
    """The columns of an event's row."""
    return {
        "id": event.id,
        "sandbox_id": event.sandbox_id,
        "at": to_text(event.timestamp),
        "event_type": event.event_type,
        "data": plain(event.data),
    }


def event_of(row: Row[Any]) -> StreamEvent:
    """The event in a row."""
    data: Data = row.data
    return StreamEvent(row.id, row.sandbox_id, row.event_type, data, datetime.fromisoformat(row.at))


def span_values(sandbox_id: SandboxId, span: Span) -> Values:
    """The columns of a span's row. Its times are seconds, for SQL reckons with them."""
    return {
        "sandbox_id": sandbox_id,
        "since": span.since.timestamp(),
        "until": span.until.timestamp(),
        "usd_hour": span.usd_hour,
    }


def anchor_values(anchors: Mapping[str, Anchor]) -> list[Values]:
    """A row for each."""
    return [
        {"name": name, "steady": to_text(anchor.steady), "wall": to_text(anchor.wall)}
        for name, anchor in anchors.items()
    ]


def anchor_of(row: Row[Any]) -> Anchor:
    """The anchor in a row."""
    return Anchor(datetime.fromisoformat(row.steady), datetime.fromisoformat(row.wall))


def attempt_values(attempt: LaunchAttempt, vault: Vault) -> Values:
    """The columns of an attempt's row."""
    return {
        "sandbox_id": attempt.sandbox_id,
        "number": attempt.number,
        "backend": attempt.place.backend,
        "account": attempt.place.account,
        "endpoint": attempt.place.endpoint,
        "region": attempt.place.region,
        "token": attempt.token,
        "request": vault.seal(attempt.request, attempt.sandbox_id, request_column(attempt.number)),
        "begun_at": to_text(attempt.begun_at),
        "outcome": attempt.outcome.value,
        "machine_id": attempt.machine_id,
        "settled_at": attempt.settled_at and to_text(attempt.settled_at),
    }


def attempt_of(row: Row[Any], vault: Vault) -> LaunchAttempt:
    """The attempt in a row; its request is empty when it was discarded."""
    sealed: bytes | None = row.request
    return LaunchAttempt(
        sandbox_id=row.sandbox_id,
        number=row.number,
        place=place_of(row),
        token=row.token,
        request=vault.open(sealed, row.sandbox_id, request_column(row.number)) if sealed else Secret(""),
        begun_at=datetime.fromisoformat(row.begun_at),
        outcome=Outcome(row.outcome),
        machine_id=row.machine_id,
        settled_at=datetime.fromisoformat(row.settled_at) if row.settled_at else None,
    )


def place_of(row: Row[Any]) -> Place:
    """Where an attempt was made."""
    return Place(row.backend, row.account, row.endpoint, row.region)


def request_column(number: int) -> str:
    """What an attempt's request is bound to, besides the sandbox."""
    return f"request {number}"


def seal_keys(keys: SandboxKeys, sandbox_id: SandboxId, vault: Vault) -> bytes:
    """Both pairs as one sealed text; the user's may be none."""
    return vault.seal(Secret(to_json(keys)), sandbox_id, "keys")


def open_keys(sealed: bytes, sandbox_id: SandboxId, vault: Vault) -> SandboxKeys:
    """The pairs in a sealed text."""
    pairs = json.loads(vault.open(sealed, sandbox_id, "keys").reveal())
    user = pairs["user"]
    return SandboxKeys(user=_pair(user) if user else None, host=_pair(pairs["host"]))


def _pair(values: Values) -> KeyPair:
    return KeyPair(values["public"], Secret(values["private"]))
