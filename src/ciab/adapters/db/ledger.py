"""What was spent, added up by SQLite from the spans of time that are over, each at its price."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.engine import Sql
from ciab.adapters.db.rows import span_values
from ciab.adapters.db.tables import sandboxes, spans
from ciab.core.ids import SandboxId
from ciab.core.spans import Span

_HOUR = 3600.0
_USD = (func.total(spans.c.usd_hour * (spans.c.until - spans.c.since)) / _HOUR).label("usd")
"""`total` leaves out what has no price, and is 0.0, not null, when that leaves nothing."""


class SqlLedger:
    """The port Ledger."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def by_sandbox(self, sandbox_ids: Collection[SandboxId]) -> Mapping[SandboxId, float]:
        """As the port has it, for any number of ids."""
        # one parameter however many they are: SQLite has a limit on those
        wanted = func.json_each(json.dumps([*sandbox_ids])).table_valued("value")
        own = spans.c.sandbox_id.in_(select(wanted.c.value))
        sums = select(spans.c.sandbox_id, _USD).where(own)
        rows = await self._sql.rows("add up what sandboxes cost", sums.group_by(spans.c.sandbox_id))
        return {row.sandbox_id: row.usd for row in rows}

    async def by_workspace(self) -> Mapping[str, float]:
        """As the port has it."""
        named = sandboxes.c.workspace.is_not(None)
        sums = select(sandboxes.c.workspace, _USD).join_from(sandboxes, spans).where(named)
        rows = await self._sql.rows("add up what workspaces cost", sums.group_by(sandboxes.c.workspace))
        return {row.workspace: row.usd for row in rows}

    async def between(self, start: datetime, end: datetime) -> float:
        """As the port has it; nothing when it ends before it starts."""
        low, high = start.timestamp(), max(start, end).timestamp()
        within = func.min(spans.c.until, high) - func.max(spans.c.since, low)
        cost = select(func.total(spans.c.usd_hour * within) / _HOUR)
        wanted = cost.where(spans.c.until > low, spans.c.since < high)
        [row] = await self._sql.rows("add up what was spent", wanted)
        usd: float = row[0]
        return usd


async def write_span(connection: AsyncConnection, sandbox_id: SandboxId, span: Span) -> None:
    """Keep what a sandbox cost for a while, in the caller's transaction."""
    await connection.execute(insert(spans).values(span_values(sandbox_id, span)))
