"""Readers that go away in the middle must not hold up the emptying of the log, in which keys have been."""

import asyncio
import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.engine import Sql


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """What is left to the collector stays, as on a server with little to do."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
async def test_cancelled_readers_leave_no_view_open(tmp_path: Path) -> None:
    sql = Sql(tmp_path / "db")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
    many = text(f"{numbers} SELECT * FROM n, t")

    async def table(connection: AsyncConnection) -> None:
        await connection.execute(text("CREATE TABLE t (v)"))
        await connection.execute(text("INSERT INTO t VALUES (1)"))

    async def change(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE t SET v = v + 1"))

    await sql.write("make a table", table)
    chance = random.Random(7)
    for _ in range(100):
        reader = asyncio.create_task(sql.rows("read", many))
        await asyncio.sleep(chance.uniform(0, 0.005))
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    await sql.write("change it", change)
    await sql.truncate_log()
    await sql.close()
    assert not (tmp_path / "db-wal").exists() or (tmp_path / "db-wal").stat().st_size == 0
