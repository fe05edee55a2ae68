"""A database for tests, in memory or in a real file, and sandboxes to put into it."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from ciab.adapters.db import open_database
from ciab.adapters.vault import AesGcmVault, Key
from ciab.core.ids import SandboxId
from ciab.core.machine import KeyPair, LaunchAttempt, Place, SandboxKeys
from ciab.core.ports import Anchors, Attempts, Events, Keys, Ledger, Store
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.core.states import State
from ciab.testing.store import MemoryDatabase

Kind = Literal["memory", "sqlite"]
KEY = Key(bytes(range(32)))
PLACE = Place("ec2", "123456789012", "", "eu-west-1")


class Ports(Protocol):
    """What both kinds have."""

    @property
    def store(self) -> Store: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def attempts(self) -> Attempts: ...
    @property
    def events(self) -> Events: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def anchors(self) -> Anchors: ...


def ticking() -> Callable[[], datetime]:
    """A clock that is a second later each time it is read."""
    seconds = itertools.count()
    return lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))


@asynccontextmanager
async def database(kind: Kind, folder: Path, retain_events: int = 100_000) -> AsyncIterator[Ports]:
    if kind == "memory":
        yield MemoryDatabase(ticking())
    else:
        async with open_database(folder / "ciab.db", AesGcmVault(KEY), ticking(), retain_events) as opened:
            yield opened


_ids = itertools.count()


def a_sandbox(name: str = "", *, minute: int | None = None, **own: Any) -> Sandbox:
    """A pending one with an id of its own, younger than those before."""
    number = next(_ids)
    begun = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number if minute is None else minute)
    fields: dict[str, Any] = {"spec": Spec("command"), "state": State.PENDING} | own
    return Sandbox(
        id=SandboxId(f"{number:08x}-0000-4000-8000-000000000000"),
        name=name or f"box-{number}",
        created_at=begun,
        updated_at=begun,
        **fields,
    )


def in_state(sandbox: Sandbox, state: State) -> Sandbox:
    """As if it had come there in its own way."""
    return replace(sandbox, state=state)


def some_keys(mark: str = "x") -> SandboxKeys:
    return SandboxKeys(
        user=KeyPair(f"ssh-ed25519 {mark} user", Secret(f"private user key {mark}")),
        host=KeyPair(f"ssh-ed25519 {mark} host", Secret(f"private host key {mark}")),
    )


def an_attempt(sandbox_id: SandboxId, number: int = 1, place: Place = PLACE) -> LaunchAttempt:
    return LaunchAttempt(
        sandbox_id=sandbox_id,
        number=number,
        place=place,
        token=f"token-{number}",
        request=Secret('{"UserData": "a host key"}'),
        begun_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
