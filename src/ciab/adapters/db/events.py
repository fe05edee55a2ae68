"""The stream of each sandbox in SQLite: written with the save that made it, followed live from there."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.engine import Sql
from ciab.adapters.db.live import Live
from ciab.adapters.db.rows import event_of, event_values
from ciab.adapters.db.tables import events
from ciab.core.events import Data, StreamEvent
from ciab.core.ids import SandboxId

_PAGE = 500


class SqlEvents:
    """The port Events. Of each sandbox at least the last `retain` events are kept, and little more."""

    def __init__(self, sql: Sql, live: Live, retain: int) -> None:
        self._sql = sql
        self._live = live
        self._retain = retain
        self._slack = max(1, retain // 100)
        self._since_trim: Counter[SandboxId] = Counter()

    async def record(
        self,
        connection: AsyncConnection,
        sandbox_id: SandboxId,
        happened: Iterable[tuple[str, Data]],
        at: datetime,
    ) -> list[StreamEvent]:
        """Write events in the caller's transaction. After its commit the caller gives them to `tell`."""
        written = [
            StreamEvent(number, sandbox_id, event_type, data, at)
            for number, (event_type, data) in enumerate(happened, self._live.last + 1)
        ]
        if written:
            await connection.execute(insert(events), [event_values(event) for event in written])
            await self._trim(connection, sandbox_id, len(written))
        return written

    def tell(self, committed: Sequence[StreamEvent]) -> None:
        """Hand events that were committed to whoever follows."""
        self._live.tell(committed)

    async def follow(self, sandbox_id: SandboxId, after: int) -> AsyncIterator[StreamEvent]:
        """As the port has it. It ends only when retention overtook the follower: the gap is not hidden."""
        waker = asyncio.Event()
        ring = self._live.join(sandbox_id, waker)
        seen: int | None = None
        try:
            while True:
                waker.clear()
                later = ring.later(after)
                if later is None:
                    floor = ring.floor  # from before the read, which therefore shows all that is up to it
                    kept = await self._kept(sandbox_id, after if seen is None else seen)
                    if seen is not None and (not kept or kept[0].id != seen):
                        return
                    later = [event for event in kept if event.id > after]
                    if not later:
                        after = floor
                elif not later:
                    await waker.wait()
                for event in later:
                    yield event
                    after = seen = event.id
        finally:
            self._live.leave(sandbox_id, waker)

    async def oldest(self, sandbox_id: SandboxId) -> int | None:
        """As the port has it."""
        wanted = select(func.min(events.c.id)).where(events.c.sandbox_id == sandbox_id)
        [row] = await self._sql.rows(f"read the events of sandbox {sandbox_id}", wanted)
        found: int | None = row[0]
        return found

    async def _kept(self, sandbox_id: SandboxId, since: int) -> list[StreamEvent]:
        """From the database, the event `since` itself included: where it is missing it was evicted."""
        wanted = (
            select(events)
            .where(events.c.sandbox_id == sandbox_id, events.c.id >= since)
            .order_by(events.c.id)
            .limit(_PAGE)
        )
        rows = await self._sql.rows(f"read the events of sandbox {sandbox_id}", wanted)
        return [event_of(row) for row in rows]

    async def _trim(self, connection: AsyncConnection, sandbox_id: SandboxId, added: int) -> None:
        self._since_trim[sandbox_id] += added
        if self._since_trim[sandbox_id] < self._slack:
            return
        del self._since_trim[sandbox_id]
        own = events.c.sandbox_id == sandbox_id
        newest_too_old = (
            select(events.c.id).where(own).order_by(events.c.id.desc()).limit(1).offset(self._retain)
        )
        await connection.execute(delete(events).where(own, events.c.id <= newest_too_old.scalar_subquery()))
