"""Sandboxes and their journal in SQLite: row, journal and events in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.engine import Sql
from ciab.adapters.db.events import SqlEvents
from ciab.adapters.db.ledger import write_span
from ciab.adapters.db.queries import filtered, meanings
from ciab.adapters.db.rows import journal_values
from ciab.adapters.db.sandbox_rows import sandbox_of, sandbox_values
from ciab.adapters.db.tables import idempotency_keys, journal, labels, sandboxes
from ciab.core.errors import Conflict, InvalidRequest, SandboxNotFound, StaleVersion
from ciab.core.events import StreamEvent, events_of
from ciab.core.ids import SandboxId
from ciab.core.journal import Entry, Noted, StepStatus
from ciab.core.ports import Once, Query, Vault
from ciab.core.sandbox import Sandbox
from ciab.core.spans import span_closed
from ciab.core.states import LIVE, State

_LONGEST_NAME = 63


class SqlStore:
    """The port Store."""

    def __init__(self, sql: Sql, vault: Vault, events: SqlEvents, clock: Callable[[], datetime]) -> None:
        self._sql = sql
        self._vault = vault
        self._events = events
        self._clock = clock

    async def add(self, sandbox: Sandbox, once: Once | None = None) -> Sandbox:
        """As the port has it."""

        async def work(connection: AsyncConnection) -> tuple[Sandbox, list[StreamEvent]]:
            if once and (made := await self._made_before(connection, once)):
                return made, []
            await _claim_name(connection, sandbox)
            await connection.execute(insert(sandboxes).values(sandbox_values(sandbox, self._vault)))
            await _write_labels(connection, sandbox)
            if once:
                await _remember(connection, once, sandbox.id)
            return sandbox, await self._record(connection, None, sandbox, ())

        added, _ = await self._sql.write(f"add sandbox {sandbox.name}", work, then=self._tell)
        return added

    async def save(self, sandbox: Sandbox, *entries: Entry) -> Sandbox:
        """As the port has it. The id, the name and the time of creation never change."""
        saved = replace(sandbox, version=sandbox.version + 1, updated_at=self._clock())

        async def work(connection: AsyncConnection) -> tuple[Sandbox, list[StreamEvent]]:
            stored = await self._row(connection, sandbox.id)
            if stored.version != sandbox.version:
                raise StaleVersion(f"version {sandbox.version} of {sandbox.id}: {stored.version} is saved")
            before = sandbox_of(stored, self._vault)
            values = sandbox_values(saved, self._vault)
            await connection.execute(update(sandboxes).where(sandboxes.c.id == saved.id).values(values))
            if before.spec.labels != saved.spec.labels:
                await connection.execute(delete(labels).where(labels.c.sandbox_id == saved.id))
                await _write_labels(connection, saved)
            if span := span_closed(before.meter, saved.meter, saved.updated_at):
                await write_span(connection, saved.id, span)
            return saved, await self._record(connection, before.state, saved, entries)

        await self._sql.write(f"save sandbox {sandbox.name}", work, then=self._tell)
        return saved

    async def get(self, sandbox_id: SandboxId) -> Sandbox:
        """As the port has it."""

        async def work(connection: AsyncConnection) -> Row[Any]:
            return await self._row(connection, sandbox_id)

        return sandbox_of(await self._sql.read(f"read sandbox {sandbox_id}", work), self._vault)

    async def lookup(self, reference: str) -> Sandbox:
        """As the port has it."""

        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return await _by_reference(connection, reference)

        found = await self._sql.read(f"look up sandbox {reference}", work)
        if len(found) > 1:
            raise Conflict(
                f"several sandboxes have ids that begin with {reference}", hint="give more of the id"
            )
        if not found:
            asked = reference if len(reference) <= _LONGEST_NAME else f"{reference[:_LONGEST_NAME]}..."
            raise SandboxNotFound(f"no sandbox has the id or name {asked}", hint="see 'ciab sandbox list'")
        return sandbox_of(found[0], self._vault)

    async def page(self, query: Query) -> Sequence[Sandbox]:
        """As the port has it. Raises InvalidRequest when the cursor is no sandbox's id."""
        wanted = filtered(query)
        if query.cursor is not None:
            place = select(sandboxes.c.created_at, sandboxes.c.id).where(sandboxes.c.id == query.cursor)
            after = await self._sql.rows("list sandboxes", place)
            if not after:
                raise InvalidRequest(f"the cursor {query.cursor} is no sandbox's id")
            wanted = wanted.where(tuple_(sandboxes.c.created_at, sandboxes.c.id) < tuple(after[0]))
        rows = await self._sql.rows("list sandboxes", wanted)
        return [sandbox_of(row, self._vault) for row in rows]

    async def steps(self, sandbox_id: SandboxId) -> Mapping[str, StepStatus]:
        """As the port has it."""
        wanted = (
            select(journal.c.subject, journal.c.status)
            .where(journal.c.sandbox_id == sandbox_id, journal.c.kind == "step")
            .order_by(journal.c.id)
        )
        rows = await self._sql.rows(f"read the journal of sandbox {sandbox_id}", wanted)
        return {row.subject: StepStatus(row.status) for row in rows}

    async def note(self, sandbox_id: SandboxId | None, entry: Noted) -> None:
        """As the port has it. Raises SandboxNotFound."""

        async def work(connection: AsyncConnection) -> list[StreamEvent]:
            if sandbox_id is None:
                await connection.execute(insert(journal), journal_values(None, self._clock(), [entry]))
                return []
            sandbox = sandbox_of(await self._row(connection, sandbox_id), self._vault)
            return await self._record(connection, sandbox.state, sandbox, [entry])

        await self._sql.write(f"note {entry.action}", work, then=self._events.tell)

    async def _row(self, connection: AsyncConnection, sandbox_id: SandboxId) -> Row[Any]:
        row = (await connection.execute(select(sandboxes).where(sandboxes.c.id == sandbox_id))).one_or_none()
        if row is None:
            raise SandboxNotFound(f"no sandbox has the id {sandbox_id}", hint="see 'ciab sandbox list'")
        return row

    async def _made_before(self, connection: AsyncConnection, key: Once) -> Sandbox | None:
        wanted = select(idempotency_keys).where(idempotency_keys.c.key == key.key)
        known = (await connection.execute(wanted)).one_or_none()
        if known is None:
            return None
        if known.digest != key.digest:
            raise Conflict("this idempotency key came with another request before", hint="use a new key")
        return sandbox_of(await self._row(connection, known.sandbox_id), self._vault)

    async def _record(
        self, connection: AsyncConnection, before: State | None, after: Sandbox, entries: Sequence[Entry]
    ) -> list[StreamEvent]:
        now = self._clock()
        if rows := journal_values(after.id, now, entries, before, after.state):
            await connection.execute(insert(journal), rows)
        return await self._events.record(connection, after.id, events_of(before, after, entries), now)

    def _tell(self, written: tuple[Sandbox, list[StreamEvent]]) -> None:
        self._events.tell(written[1])


async def _claim_name(connection: AsyncConnection, sandbox: Sandbox) -> None:
    taken = select(sandboxes.c.id).where(sandboxes.c.name == sandbox.name, sandboxes.c.state.in_(LIVE))
    if sandbox.live and (other := (await connection.execute(taken)).scalar()):
        raise Conflict(f"the name {sandbox.name} is taken by sandbox {other}", hint="choose another name")


async def _write_labels(connection: AsyncConnection, sandbox: Sandbox) -> None:
    rows = [
        {"sandbox_id": sandbox.id, "key": key, "value": value} for key, value in sandbox.spec.labels.items()
    ]
    if rows:
        await connection.execute(insert(labels), rows)


async def _remember(connection: AsyncConnection, key: Once, sandbox_id: SandboxId) -> None:
    row = {"key": key.key, "digest": key.digest, "sandbox_id": sandbox_id}
    await connection.execute(insert(idempotency_keys).values(row))


async def _by_reference(connection: AsyncConnection, reference: str) -> Sequence[Row[Any]]:
    for wanted in meanings(reference):
        rows: Sequence[Row[Any]] = (await connection.execute(wanted)).all()
        if rows:
            return rows
    return ()
