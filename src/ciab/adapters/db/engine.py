"""One SQLite file: readers side by side, writers one at a time, durable at every commit.

In WAL mode `synchronous=NORMAL` may lose the last commits at a power cut; a launch attempt that was lost so
would be a machine nobody knows of, hence FULL (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, create_engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ciab.adapters.db.errors import translated
from ciab.core.errors import RuntimeUnavailable

Result = TypeVar("Result")

_BUSY_MS = 5000
_CHECKPOINT_BUSY_MS = 500
"""A checkpoint holds every writer up while it waits for a reader; its caller tries again later."""

_CONNECTIONS = 6
"""Each has a thread of its own; whoever finds none free waits for one."""

_PRAGMAS = (
    f"busy_timeout = {_BUSY_MS}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",
)


def sync_engine(path: Path) -> Engine:
    """For what runs at start, in a thread."""
    return _prepared(create_engine(f"sqlite:///{path}"))


class Sql:
    """The file while the server runs."""

    def __init__(self, path: Path) -> None:
        self._engine: AsyncEngine = create_async_engine(
            f"sqlite+aiosqlite:///{path}", pool_size=_CONNECTIONS, max_overflow=0
        )
        _prepared(self._engine.sync_engine)
        self._one_writer = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def read(self, tried: str, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        """What `work` reads. A cancelled caller stops waiting, but the reading goes on to its end: a
        statement that is cut off stays open until it is collected as garbage, and holds checkpoints up."""
        return await self._to_its_end(self._read(tried, work))

    async def rows(self, tried: str, statement: Select[Any]) -> Sequence[Row[Any]]:
        """All rows of one statement."""

        async def work(connection: AsyncConnection) -> Sequence[Row[Any]]:
            rows: Sequence[Row[Any]] = (await connection.execute(statement)).all()
            return rows

        return await self.read(tried, work)

    @asynccontextmanager
    async def reading(self, tried: str) -> AsyncIterator[AsyncConnection]:
        """For callers that nobody cancels. Each statement sees a moment of its own; take all its rows."""
        with translated(tried):
            async with self._engine.connect() as connection:
                await connection.execution_options(begin=None)
                yield connection

    async def write(
        self,
        tried: str,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        *,
        then: Callable[[Result], None] | None = None,
    ) -> Result:
        """Do `work` in one transaction, then call `then`, in the order of the commits.

        A cancelled caller stops waiting, but the write goes on to its end: what is committed is always told.
        """
        return await self._to_its_end(self._write(tried, work, then))

    async def truncate_log(self) -> None:
        """Move the write-ahead log into the database and empty its file. Raises RuntimeUnavailable when a
        reader holds it up."""
        await self._to_its_end(self._truncate_log())

    async def close(self) -> None:
        """Wait for what is under way, then close."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._engine.dispose()

    async def _to_its_end(self, work: Coroutine[Any, Any, Result]) -> Result:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits for it is told; if nobody does, that is no news

    async def _read(self, tried: str, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        async with self.reading(tried) as connection:
            return await work(connection)

    async def _write(
        self,
        tried: str,
        work: Callable[[AsyncConnection], Awaitable[Result]],
        then: Callable[[Result], None] | None,
    ) -> Result:
        async with self._one_writer:
            with translated(tried):
                async with self._engine.connect() as connection:
                    await connection.execution_options(begin="BEGIN IMMEDIATE")
                    async with connection.begin():
                        result = await work(connection)
            if then:
                then(result)
            return result

    async def _truncate_log(self) -> None:
        async with self._one_writer:
            with translated("empty the write-ahead log"):
                async with self._engine.connect() as connection:
                    await connection.run_sync(truncate_log)


def truncate_log(connection: Connection) -> None:
    """Empty the log over a connection without a transaction. Raises RuntimeUnavailable while it is read."""
    connection.execution_options(begin=None)
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_CHECKPOINT_BUSY_MS}")
    busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MS}")
    if busy:
        raise RuntimeUnavailable(
            "could not empty the database's write-ahead log: another program reads the database",
            hint="close whatever has the database open; this is tried again",
        )


def _prepared(engine: Engine) -> Engine:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # without this the sqlite3 module begins transactions by itself, late, and never around DDL
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        if statement := connection.get_execution_options().get("begin", "BEGIN"):
            connection.exec_driver_sql(statement)

    return engine
