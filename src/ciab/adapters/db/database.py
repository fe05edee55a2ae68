"""A database from its start to its end: locked, checked, migrated, and open behind its ports."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.anchors import SqlAnchors
from ciab.adapters.db.attempts import SqlAttempts
from ciab.adapters.db.engine import Sql
from ciab.adapters.db.events import SqlEvents
from ciab.adapters.db.keys import SqlKeys
from ciab.adapters.db.ledger import SqlLedger
from ciab.adapters.db.live import Live
from ciab.adapters.db.lock import DatabaseLock
from ciab.adapters.db.prepare import prepare
from ciab.adapters.db.store import SqlStore
from ciab.adapters.db.tables import meta
from ciab.core.errors import ConfigError
from ciab.core.ids import OwnerId
from ciab.core.ports import Vault

_SCHEME = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Database:
    """What `open_database` gives. `owner` is this installation's id, made with the database."""

    path: Path
    owner: OwnerId
    store: SqlStore
    keys: SqlKeys
    attempts: SqlAttempts
    events: SqlEvents
    ledger: SqlLedger
    anchors: SqlAnchors
    lock: DatabaseLock
    sql: Sql

    async def check(self) -> None:
        """Write something. Raises RuntimeUnavailable when the database cannot be written."""
        await self.sql.write("write to the database", _touch)


@asynccontextmanager
async def open_database(
    location: str | Path, vault: Vault, clock: Callable[[], datetime], retain_events: int
) -> AsyncIterator[Database]:
    """The database at a path or `sqlite:///` URL, made when it is not there. Nobody else opens it meanwhile.

    Raises ConfigError, with nothing changed: in use (naming the holder's pid), another encryption key,
    made by a newer version, not a database of ours.
    """
    path = database_path(location)
    lock = await asyncio.to_thread(_lock, path)
    try:
        owner = await asyncio.to_thread(prepare, path, vault)
        sql = Sql(path)
        try:
            events = SqlEvents(sql, Live(await _last_event(sql)), retain_events)
            yield Database(
                path=path,
                owner=owner,
                store=SqlStore(sql, vault, events, clock),
                keys=SqlKeys(sql, vault),
                attempts=SqlAttempts(sql, vault, clock),
                events=events,
                ledger=SqlLedger(sql),
                anchors=SqlAnchors(sql),
                lock=lock,
                sql=sql,
            )
        finally:
            await sql.close()
    finally:
        lock.release()


def database_path(location: str | Path) -> Path:
    """The file of a path or URL, absolute, `~` expanded. Raises ConfigError for other databases."""
    if isinstance(location, str) and "://" in location:
        if not location.startswith(_SCHEME):
            raise ConfigError(
                f"[database] url: {location.split('://')[0]} databases are not supported yet",
                hint=f"use {_SCHEME}PATH",
            )
        location = location.removeprefix(_SCHEME)
    return Path(location).expanduser().absolute()


async def _touch(connection: AsyncConnection) -> None:
    await connection.execute(update(meta).values(value=meta.c.value).where(meta.c.key == "ciab_version"))


def _lock(path: Path) -> DatabaseLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return DatabaseLock.acquire(path)
    except OSError as exc:
        raise ConfigError(
            f"could not lock the database {path}: {exc.strerror}",
            hint="check the owner and mode of its folder",
        ) from exc


async def _last_event(sql: Sql) -> int:
    async with sql.reading("read the last event's id") as connection:
        found = await connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'events'"))
        return int(found.scalar() or 0)
