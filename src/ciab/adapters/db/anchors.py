"""Where the clocks that never jump stood: one row for each."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.engine import Sql
from ciab.adapters.db.rows import anchor_of, anchor_values
from ciab.adapters.db.tables import anchors as table
from ciab.core.ports import Anchor


class SqlAnchors:
    """The port Anchors."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    async def get(self, name: str) -> Anchor | None:
        """As the port has it."""
        rows = await self._sql.rows(f"read the clock {name}", select(table).where(table.c.name == name))
        return anchor_of(rows[0]) if rows else None

    async def keep(self, anchors: Mapping[str, Anchor]) -> None:
        """As the port has it. Those that are not named stay."""
        if not anchors:
            return
        upsert = insert(table)
        upsert = upsert.on_conflict_do_update(
            index_elements=[table.c.name],
            set_={"steady": upsert.excluded.steady, "wall": upsert.excluded.wall},
        )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(upsert, anchor_values(anchors))

        await self._sql.write("keep the clocks", work)
