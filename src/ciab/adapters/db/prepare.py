"""The start of a database: is it ours, does the key fit, is its schema known; then the migrations.

All of it is one transaction: a start that is refused leaves the file as it was.
"""

import uuid
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, select, update

from ciab import __version__
from ciab.adapters.db.engine import sync_engine
from ciab.adapters.db.errors import translated
from ciab.adapters.db.tables import meta
from ciab.core.errors import ConfigError, RuntimeFault
from ciab.core.ids import OwnerId
from ciab.core.ports import Vault
from ciab.core.secret import Secret

MIGRATIONS = Path(__file__).parent / "migrations"

KEY_CHECK = "key_check"
_KEY_CHECK_TEXT = Secret("this database opens with this key")


def prepare(path: Path, vault: Vault, migrations: Path = MIGRATIONS) -> OwnerId:
    """Make or bring up to date the database at `path`; gives the installation's id. Blocks: use a thread.

    Raises ConfigError for another key, a newer schema, or a file that cannot be used.
    """
    existed = path.exists()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not existed:
        path.touch(mode=0o600)
    done = False
    try:
        owner = _in_one_transaction(path, vault, migrations)
        done = True
    except RuntimeFault as exc:
        raise ConfigError(exc.message, hint=exc.hint) from exc
    finally:
        if not done and not existed:
            path.unlink()
    return owner


def _in_one_transaction(path: Path, vault: Vault, migrations: Path) -> OwnerId:
    engine = sync_engine(path)
    try:
        with translated(f"open the database {path}"), engine.connect() as connection:
            connection.execution_options(begin="BEGIN IMMEDIATE")
            with connection.begin():
                return _prepare(connection, vault, migrations)
    finally:
        engine.dispose()


def _prepare(connection: Connection, vault: Vault, migrations: Path) -> OwnerId:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = examine(connection, vault, ScriptDirectory.from_config(config))
    command.upgrade(config, "head")
    if KEY_CHECK not in known:
        owner = str(uuid.uuid4())
        known = {"owner": owner.encode(), KEY_CHECK: seal_key_check(vault, owner), "ciab_version": b""}
        connection.execute(insert(meta), [{"key": key, "value": value} for key, value in known.items()])
    if known["ciab_version"] != __version__.encode():
        row = update(meta).where(meta.c.key == "ciab_version")
        connection.execute(row.values(value=__version__.encode()))
    return OwnerId(known["owner"].decode())


def examine(connection: Connection, vault: Vault, scripts: ScriptDirectory) -> dict[str, bytes]:
    """What the database says of itself; nothing when it is empty. It reads only.

    Raises ConfigError for another key, a newer schema, or a file that is not ours.
    """
    known = _read_meta(connection)
    _refuse_newer(connection, scripts, known)
    if KEY_CHECK in known:
        _refuse_other_key(vault, known)
    return known


def seal_key_check(vault: Vault, owner: str) -> bytes:
    """What tells at the next start whether the key is the same."""
    return vault.seal(_KEY_CHECK_TEXT, owner, KEY_CHECK)


def _read_meta(connection: Connection) -> dict[str, bytes]:
    names = set(inspect(connection).get_table_names())
    if names and meta.name not in names:
        raise ConfigError(
            "the database was not made by ciab: it has other tables",
            hint="give another path in [database] url",
        )
    if not names:
        return {}
    return {row.key: row.value for row in connection.execute(select(meta))}


def _refuse_other_key(vault: Vault, known: dict[str, bytes]) -> None:
    try:
        vault.open(known[KEY_CHECK], known["owner"].decode(), KEY_CHECK)
    except ConfigError as exc:
        raise ConfigError(
            "the database was made with another encryption key",
            hint="give the key it was made with: its secrets open with no other",
        ) from exc


def _refuse_newer(connection: Connection, scripts: ScriptDirectory, known: dict[str, bytes]) -> None:
    revision = MigrationContext.configure(connection).get_current_revision()
    ours = [script.revision for script in scripts.walk_revisions()]
    if revision is not None and revision not in ours:
        made_by = known.get("ciab_version", b"").decode() or "unknown"
        raise ConfigError(
            f"the database was made by a newer ciab: version {made_by}, schema {revision}; "
            f"this is version {__version__}, schema {scripts.get_current_head()}",
            hint="install that version, or give another path in [database] url",
        )
