"""The database in memory: its ports pass the same contract suites as the file's.

Every call gives way to other tasks first, as a real database does: a fake that never did would hide races.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime

from ciab.core.errors import Conflict, InvalidRequest, SandboxNotFound, StaleVersion
from ciab.core.events import events_of
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.journal import Entry, Noted, StepMoved, StepStatus
from ciab.core.machine import LaunchAttempt, Outcome, Place, SandboxKeys
from ciab.core.ports import Once, Query
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spans import span_closed
from ciab.core.states import State
from ciab.testing.events import MemoryEvents
from ciab.testing.ledger import MemoryAnchors, MemoryLedger

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock where a test passes none."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StateMoved:
    """The entry that the store adds by itself when a save changes the state; `before` is None at `add`."""

    before: State | None
    after: State


class MemoryDatabase:
    """All ports over one memory, as the database has them over one file."""

    def __init__(self, clock: Clock = utc_now, owner: str = "00000000-0000-4000-8000-000000000001") -> None:
        self.owner = OwnerId(owner)
        self.events = MemoryEvents(clock)
        self.attempts = MemoryAttempts(clock)
        self.keys = MemoryKeys(self.attempts)
        self.ledger = MemoryLedger()
        self.anchors = MemoryAnchors()
        self.store = MemoryStore(self.events, self.ledger, clock)


class MemoryStore:
    """Store. `journal` is open to tests: entries and state changes by sandbox, in order; under None what
    was noted about no sandbox."""

    def __init__(self, events: MemoryEvents, ledger: MemoryLedger, clock: Clock) -> None:
        self.journal: dict[SandboxId | None, list[Entry | StateMoved]] = defaultdict(list)
        self._sandboxes: dict[SandboxId, Sandbox] = {}
        self._once: dict[str, tuple[str, SandboxId]] = {}
        self._events = events
        self._ledger = ledger
        self._clock = clock

    async def add(self, sandbox: Sandbox, once: Once | None = None) -> Sandbox:
        """As the port has it."""
        await asyncio.sleep(0)
        if once and once.key in self._once:
            digest, made = self._once[once.key]
            if digest != once.digest:
                raise Conflict("this idempotency key came with another request before", hint="use a new key")
            return self._sandboxes[made]
        for other in self._sandboxes.values():
            if other.live and sandbox.live and other.name == sandbox.name:
                raise Conflict(
                    f"the name {sandbox.name} is taken by sandbox {other.id}", hint="choose another"
                )
        if once:
            self._once[once.key] = (once.digest, sandbox.id)
        self._write(None, sandbox, ())
        return sandbox

    async def save(self, sandbox: Sandbox, *entries: Entry) -> Sandbox:
        """As the port has it."""
        await asyncio.sleep(0)
        stored = self._stored(sandbox.id)
        if stored.version != sandbox.version:
            raise StaleVersion(f"version {sandbox.version} of {sandbox.id}: {stored.version} is saved")
        saved = replace(sandbox, version=sandbox.version + 1, updated_at=self._clock())
        if span := span_closed(stored.meter, saved.meter, saved.updated_at):
            self._ledger.record(saved, span)
        self._write(stored.state, saved, entries)
        return saved

    async def get(self, sandbox_id: SandboxId) -> Sandbox:
        """As the port has it."""
        await asyncio.sleep(0)
        return self._stored(sandbox_id)

    async def lookup(self, reference: str) -> Sandbox:
        """As the port has it."""
        await asyncio.sleep(0)
        if found := self._sandboxes.get(SandboxId(reference)):
            return found
        named = [sandbox for sandbox in self._newest_first() if sandbox.name == reference]
        if named:
            return next((sandbox for sandbox in named if sandbox.live), named[0])
        begun = [s for s in self._newest_first() if len(reference) >= 4 and s.id.startswith(reference)]
        if len(begun) > 1:
            raise Conflict(
                f"several sandboxes have ids that begin with {reference}", hint="give more of the id"
            )
        if not begun:
            raise SandboxNotFound(f"no sandbox has the id or name {reference}")
        return begun[0]

    async def page(self, query: Query) -> Sequence[Sandbox]:
        """As the port has it."""
        await asyncio.sleep(0)
        ordered = self._newest_first()
        if query.cursor is not None:
            if query.cursor not in self._sandboxes:
                raise InvalidRequest(f"the cursor {query.cursor} is no sandbox's id")
            ordered = ordered[ordered.index(self._sandboxes[query.cursor]) + 1 :]
        return [sandbox for sandbox in ordered if _matches(sandbox, query)][: query.limit]

    async def steps(self, sandbox_id: SandboxId) -> Mapping[str, StepStatus]:
        """As the port has it."""
        await asyncio.sleep(0)
        moved = [entry for entry in self.journal[sandbox_id] if isinstance(entry, StepMoved)]
        return {entry.step: entry.status for entry in moved}

    async def note(self, sandbox_id: SandboxId | None, entry: Noted) -> None:
        """As the port has it."""
        await asyncio.sleep(0)
        if sandbox_id is None:
            self.journal[None].append(entry)
        else:
            sandbox = self._stored(sandbox_id)
            self._write(sandbox.state, sandbox, [entry])

    def _stored(self, sandbox_id: SandboxId) -> Sandbox:
        if sandbox_id not in self._sandboxes:
            raise SandboxNotFound(f"no sandbox has the id {sandbox_id}")
        return self._sandboxes[sandbox_id]

    def _newest_first(self) -> list[Sandbox]:
        return sorted(self._sandboxes.values(), key=lambda s: (s.created_at, s.id), reverse=True)

    def _write(self, before: State | None, after: Sandbox, entries: Sequence[Entry]) -> None:
        self._sandboxes[after.id] = after
        self.journal[after.id] += entries
        if before is not after.state:
            self.journal[after.id].append(StateMoved(before, after.state))
        self._events.record(after.id, events_of(before, after, entries))


def _matches(sandbox: Sandbox, query: Query) -> bool:
    return (
        (query.states is None or sandbox.state in query.states)
        and (query.provider is None or sandbox.spec.agent_provider == query.provider)
        and query.labels.items() <= sandbox.spec.labels.items()
    )


class MemoryAttempts:
    """Attempts. `all` is open to tests."""

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self.all: dict[SandboxId, dict[int, LaunchAttempt]] = defaultdict(dict)

    async def begin(self, attempt: LaunchAttempt) -> None:
        """As the port has it."""
        await asyncio.sleep(0)
        if attempt.number in self.all[attempt.sandbox_id]:
            raise Conflict(
                f"launch attempt {attempt.number} of sandbox {attempt.sandbox_id} is already recorded"
            )
        self.all[attempt.sandbox_id][attempt.number] = attempt

    async def settle(self, attempt: LaunchAttempt, outcome: Outcome, machine_id: str | None = None) -> None:
        """As the port has it."""
        await asyncio.sleep(0)
        kept = self.all[attempt.sandbox_id][attempt.number]
        self.all[attempt.sandbox_id][attempt.number] = replace(
            kept, outcome=outcome, machine_id=machine_id, settled_at=self._clock()
        )

    async def past(self, sandbox_id: SandboxId) -> Sequence[LaunchAttempt]:
        """As the port has it."""
        await asyncio.sleep(0)
        return [attempt for _, attempt in sorted(self.all[sandbox_id].items())]

    async def regions(self) -> Sequence[Place]:
        """As the port has it."""
        await asyncio.sleep(0)
        places = {attempt.place for attempts in self.all.values() for attempt in attempts.values()}
        return sorted(places, key=astuple)


class MemoryKeys:
    """Keys."""

    def __init__(self, attempts: MemoryAttempts) -> None:
        self._kept: dict[SandboxId, SandboxKeys] = {}
        self._attempts = attempts

    async def keep(self, sandbox_id: SandboxId, keys: SandboxKeys) -> SandboxKeys:
        """As the port has it."""
        await asyncio.sleep(0)
        return self._kept.setdefault(sandbox_id, keys)

    async def get(self, sandbox_id: SandboxId) -> SandboxKeys | None:
        """As the port has it."""
        await asyncio.sleep(0)
        return self._kept.get(sandbox_id)

    async def discard(self, sandbox_id: SandboxId) -> None:
        """As the port has it; the attempts stay, each with an empty request."""
        await asyncio.sleep(0)
        self._kept.pop(sandbox_id, None)
        attempts = self._attempts.all[sandbox_id]
        attempts.update({n: replace(attempt, request=Secret("")) for n, attempt in attempts.items()})
