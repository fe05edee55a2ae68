"""What is kept: sandboxes, their journal, their keys, their events, what they cost."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ciab.core.events import StreamEvent
from ciab.core.ids import SandboxId
from ciab.core.journal import Entry, Noted, StepStatus
from ciab.core.machine import (
    SandboxKeys,
)
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.states import State


@dataclass(frozen=True, slots=True)
class Query:
    """Which sandboxes: newest first, `limit` at most, after the one whose id is `cursor`."""

    states: frozenset[State] | None = None
    provider: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    limit: int = 100
    cursor: SandboxId | None = None


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key with a digest of the request it came with."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """One moment, as the steady clock and as the wall clock had it."""

    steady: datetime
    wall: datetime


class Store(Protocol):
    """Sandboxes and their journal, in one transaction."""

    async def add(self, sandbox: Sandbox, once: Once | None = None) -> Sandbox:
        """Keep a new sandbox; with a known `once`, give back the one it made before.

        Raises Conflict when a live sandbox has the name, or when the key came with another request.
        """
        ...

    async def save(self, sandbox: Sandbox, *entries: Entry) -> Sandbox:
        """Compare-and-set on `version`; gives the sandbox with the next one. Raises StaleVersion."""
        ...

    async def get(self, sandbox_id: SandboxId) -> Sandbox:
        """Raises SandboxNotFound. Ended sandboxes are kept for ever."""
        ...

    async def lookup(self, reference: str) -> Sandbox:
        """By id, by the name of a live sandbox (else the newest ended one), or by a unique prefix of an id
        of at least 4 characters. Raises SandboxNotFound, or Conflict when several match."""
        ...

    async def page(self, query: Query) -> Sequence[Sandbox]:
        """Sandboxes that match."""
        ...

    async def steps(self, sandbox_id: SandboxId) -> Mapping[str, StepStatus]:
        """The last status of every step ever begun."""
        ...

    async def note(self, sandbox_id: SandboxId | None, entry: Noted) -> None:
        """Add to the journal, and to the events when it is shown, whatever the sandbox's version and state.

        None: about something that no sandbox of this database has."""
        ...


class Ledger(Protocol):
    """What was spent, in dollars. `Store.save` writes it: a meter that changes closes the span of the old
    one. Open spans are the sandboxes' own meters and are not in these sums."""

    async def by_sandbox(self, sandbox_ids: Collection[SandboxId]) -> Mapping[SandboxId, float]:
        """Each sandbox's closed spans; those without any are left out."""
        ...

    async def by_workspace(self) -> Mapping[str, float]:
        """Closed spans of all sandboxes, ended ones too, that name a workspace."""
        ...

    async def between(self, start: datetime, end: datetime) -> float:
        """What closed spans cost within this time."""
        ...


class Anchors(Protocol):
    """Where the clocks that never jump stood when they were last looked at, by name."""

    async def get(self, name: str) -> Anchor | None:
        """None at the first start."""
        ...

    async def keep(self, anchors: Mapping[str, Anchor]) -> None:
        """Save them all at once."""
        ...


class Keys(Protocol):
    """Key pairs of sandboxes, encrypted at rest."""

    async def keep(self, sandbox_id: SandboxId, keys: SandboxKeys) -> SandboxKeys:
        """Save them unless there are some; gives those that are kept."""
        ...

    async def get(self, sandbox_id: SandboxId) -> SandboxKeys | None:
        """None: never made, or discarded."""
        ...

    async def discard(self, sandbox_id: SandboxId) -> None:
        """Remove keys and the attempts' requests, from the write-ahead log too."""
        ...


class Events(Protocol):
    """The stream of each sandbox, kept in the database."""

    def follow(self, sandbox_id: SandboxId, after: int) -> AsyncIterator[StreamEvent]:
        """Every event later than `after`, kept ones first, then live ones, with no gap and no repeat."""
        ...

    async def oldest(self, sandbox_id: SandboxId) -> int | None:
        """The oldest id still kept."""
        ...


class Vault(Protocol):
    """Encryption at rest. `owner` and `column` are bound: a ciphertext moved elsewhere does not open."""

    def seal(self, text: Secret, owner: str, column: str) -> bytes:
        """Encrypt, with a fresh nonce."""
        ...

    def open(self, sealed: bytes, owner: str, column: str) -> Secret:
        """Decrypt. Raises ConfigError when the key is another one or the text was tampered with."""
        ...
