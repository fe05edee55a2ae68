"""Whether a start would open the database, found out without writing a byte of it."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from ciab.adapters.db.errors import translated
from ciab.adapters.db.prepare import MIGRATIONS, examine
from ciab.core.errors import ConfigError, RuntimeFault
from ciab.core.ports import Vault


@dataclass(frozen=True, slots=True)
class Looked:
    """The version of ciab that used the database last; `older`: the next start will bring its schema up to
    date."""

    version: str
    older: bool


def look_at(path: Path, vault: Vault) -> Looked:
    """The database that no server uses, as the next start will find it. Blocks: use a thread.

    Raises ConfigError where that start would be refused: another key, a newer schema, not a database of ours.
    """
    scripts = ScriptDirectory(str(MIGRATIONS))
    engine = create_engine("sqlite://", creator=lambda: _read_only(path))
    try:
        with translated(f"look at the database {path}"), engine.connect() as connection:
            known = examine(connection, vault, scripts)
            revision = MigrationContext.configure(connection).get_current_revision()
    except RuntimeFault as exc:
        raise ConfigError(exc.message, hint=exc.hint) from exc
    finally:
        engine.dispose()
    return Looked(known.get("ciab_version", b"").decode(), revision != scripts.get_current_head())


def _read_only(path: Path) -> sqlite3.Connection:
    # SQLite makes files of its own beside a database in WAL mode even to read it, unless told that nobody
    # can change it; but then it does not see what a killed server left in the write-ahead log.
    log = path.with_name(f"{path.name}-wal")
    left = log.exists() and log.stat().st_size > 0
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{'' if left else '&immutable=1'}", uri=True)
