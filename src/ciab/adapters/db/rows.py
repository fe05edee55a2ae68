"""Rows and values. A spec is one sealed JSON text: its environment and its URLs hold secrets."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row

from ciab.core.events import Data, StreamEvent
from ciab.core.ids import SandboxId
from ciab.core.journal import Entry, StepMoved
from ciab.core.machine import (
    KeyPair,
    LaunchAttempt,
    Login,
    Machine,
    MachineImage,
    MachineState,
    Outcome,
    Place,
    SandboxKeys,
    Site,
)
from ciab.core.ports import Vault
from ciab.core.sandbox import Failure, Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Ec2Overrides, GitRepo, Persistence, Spec
from ciab.core.states import State

Values = dict[str, Any]


def to_text(moment: datetime) -> str:
    """A time as it stands in the database."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def sandbox_values(sandbox: Sandbox, vault: Vault) -> Values:
    """The columns of a sandbox's row."""
    return {
        "id": sandbox.id,
        "name": sandbox.name,
        "state": sandbox.state.value,
        "provider": sandbox.spec.agent_provider,
        "version": sandbox.version,
        "ran": sandbox.ran,
        "created_at": to_text(sandbox.created_at),
        "updated_at": to_text(sandbox.updated_at),
        "spec": vault.seal(Secret(_to_json(sandbox.spec)), sandbox.id, "spec"),
        "failure": _plain(sandbox.failure),
        "site": _plain(sandbox.site),
        "image": _plain(sandbox.image),
        "machine": _plain(sandbox.machine),
    }


def sandbox_of(row: Row[Any], vault: Vault) -> Sandbox:
    """The sandbox in a row. Raises ConfigError when the spec does not open."""
    return Sandbox(
        id=row.id,
        name=row.name,
        spec=_spec(json.loads(vault.open(row.spec, row.id, "spec").reveal())),
        state=State(row.state),
        created_at=datetime.fromisoformat(row.created_at),
        updated_at=datetime.fromisoformat(row.updated_at),
        version=row.version,
        ran=row.ran,
        failure=Failure(**row.failure) if row.failure else None,
        site=Site(Place(**row.site["place"]), Login(**row.site["login"])) if row.site else None,
        image=MachineImage(**row.image) if row.image else None,
        machine=_machine(row.machine) if row.machine else None,
    )


def journal_values(
    sandbox_id: SandboxId, at: datetime, before: State | None, after: State, entries: Sequence[Entry]
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
    if before is not after:
        rows.append(blank | {"kind": "state", "subject": after.value, "before": before and before.value})
    return [{"sandbox_id": sandbox_id, "at": to_text(at)} | row for row in rows]


def event_values(event: StreamEvent) -> Values:
    """The columns of an event's row."""
    return {
        "id": event.id,
        "sandbox_id": event.sandbox_id,
        "at": to_text(event.timestamp),
        "event_type": event.event_type,
        "data": _plain(event.data),
    }


def event_of(row: Row[Any]) -> StreamEvent:
    """The event in a row."""
    data: Data = row.data
    return StreamEvent(row.id, row.sandbox_id, row.event_type, data, datetime.fromisoformat(row.at))


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
    """Both pairs as one sealed text."""
    return vault.seal(Secret(_to_json(keys)), sandbox_id, "keys")


def open_keys(sealed: bytes, sandbox_id: SandboxId, vault: Vault) -> SandboxKeys:
    """The pairs in a sealed text."""
    pairs = json.loads(vault.open(sealed, sandbox_id, "keys").reveal())
    return SandboxKeys(
        **{use: KeyPair(pair["public"], Secret(pair["private"])) for use, pair in pairs.items()}
    )


def _spec(values: Values) -> Spec:
    repos = [
        GitRepo(**repo | {"url": Secret(repo["url"]), "sparse_paths": tuple(repo["sparse_paths"])})
        for repo in values["git_repos"]
    ]
    groups = values["ec2"]["security_group_ids"]
    nested = {
        "persistence": Persistence(values["persistence"]),
        "env_vars": {name: Secret(value) for name, value in values["env_vars"].items()},
        "git_repos": tuple(repos),
        "provisioning_scripts": tuple(values["provisioning_scripts"]),
        "ec2": Ec2Overrides(
            **values["ec2"] | {"security_group_ids": None if groups is None else tuple(groups)}
        ),
    }
    return Spec(**values | nested)


def _machine(values: Values) -> Machine:
    own = {
        "state": MachineState(values["state"]),
        "launched_at": datetime.fromisoformat(values["launched_at"]),
    }
    return Machine(**values | own)


def _to_json(value: object) -> str:
    return json.dumps(_plain(value))


def _plain(value: object) -> Any:
    """What JSON knows. It reveals secrets: its callers seal what it gives, or have none in it."""
    if isinstance(value, Secret):
        return value.reveal()
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return to_text(value) if isinstance(value, datetime) else value
