"""The database as a file: who may open it, what a refused start leaves, what is left of secrets."""

import asyncio
import os
import shutil
import sqlite3
import stat
import sys
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import pytest

from ciab.adapters.db import holder_of, open_database
from ciab.adapters.db.database import Database
from ciab.adapters.db.prepare import MIGRATIONS, prepare
from ciab.adapters.db.tables import metadata
from ciab.adapters.vault import AesGcmVault, Key
from ciab.core.errors import ConfigError, RuntimeFault, RuntimeUnavailable
from ciab.core.journal import Noted
from ciab.core.ports import Query
from ciab.core.spec import Spec
from ciab.core.states import State
from tests.databases import KEY, a_sandbox, ticking

VAULT = AesGcmVault(KEY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ciab.db"


def opening(path: Path, *, key: Key = KEY) -> AbstractAsyncContextManager[Database]:
    return open_database(path, AesGcmVault(key), ticking(), 1000)


async def made(path: Path) -> None:
    async with opening(path) as db:
        await db.store.add(a_sandbox("kept"))


async def refused(path: Path, *, key: Key = KEY) -> ConfigError:
    with pytest.raises(ConfigError) as refusal:
        async with opening(path, key=key):
            pass
    return refusal.value


async def test_a_new_database_is_its_owners_only_and_keeps_its_id(path: Path) -> None:
    async with opening(path) as db:
        owner = db.owner
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    async with open_database(f"sqlite:///{path}", VAULT, ticking(), 1000) as db:
        assert db.owner == owner


async def test_every_connection_is_durable_and_overwrites_what_is_deleted(path: Path) -> None:
    async with opening(path) as db, db.sql.reading("look") as connection:
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
        found = {name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in wanted}
        assert found == wanted


async def test_the_migrations_make_the_tables_that_the_code_knows(path: Path) -> None:
    await made(path)
    with closing(sqlite3.connect(path)) as connection:
        query = (
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name != 'alembic_version'"
        )
        migrated = dict(connection.execute(query).fetchall())
        columns = {table: connection.execute(f"PRAGMA table_xinfo({table})").fetchall() for table in migrated}
    from ciab.adapters.db.engine import sync_engine

    engine = sync_engine(path.with_name("known.db"))
    metadata.create_all(engine)
    with engine.connect() as known:
        expected = {name: known.exec_driver_sql(f"PRAGMA table_xinfo({name})").all() for name in migrated}
        indexes = known.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'index'").all()
    engine.dispose()
    assert {name: [tuple(row) for row in rows] for name, rows in expected.items()} == columns
    assert {name: sql for name, sql in indexes if sql} == {n: s for n, s in migrated.items() if "INDEX" in s}


async def test_a_second_server_is_refused_naming_the_first(path: Path) -> None:
    await made(path)
    async with opening(path) as db:
        db.lock.publish("127.0.0.1", 9090)
        script = (
            "import asyncio, sys\n"
            "from tests.integration.test_database_file import opening, Path\n"
            "async def main():\n"
            "    async with opening(Path(sys.argv[1])): pass\n"
            "try: asyncio.run(main())\n"
            "except Exception as exc: print(exc); sys.exit(3)\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(path), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 3
        assert f"in use by process {os.getpid()}" in output.decode()
        holder = holder_of(path)
        assert holder is not None
        assert (holder.pid, holder.host, holder.port) == (os.getpid(), "127.0.0.1", 9090)
    assert holder_of(path) is None


async def test_the_wrong_key_is_refused_and_nothing_changes(path: Path) -> None:
    await made(path)
    before = path.read_bytes()
    refusal = await refused(path, key=Key(b"w" * 32))
    assert "another encryption key" in refusal.message
    assert path.read_bytes() == before


async def test_a_newer_database_is_refused_naming_both_versions(path: Path) -> None:
    await made(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
        connection.execute("UPDATE meta SET value = CAST('9.9.9' AS BLOB) WHERE key = 'ciab_version'")
        connection.commit()
    before = path.read_bytes()
    message = (await refused(path)).message
    assert "version 9.9.9, schema 0999" in message
    assert "this is version 0.1.0, schema 0002" in message
    assert path.read_bytes() == before


async def test_a_failed_migration_leaves_the_file_as_it_was(path: Path, tmp_path: Path) -> None:
    await made(path)
    broken = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, broken)
    (broken / "versions" / "0900_breaks.py").write_text(
        "from alembic import op\n"
        "revision, down_revision = '0900', '0002'\n"
        "def upgrade():\n"
        "    op.execute('ALTER TABLE sandboxes ADD COLUMN half TEXT')\n"
        "    op.execute('DROP TABLE labels')\n"
        "    op.execute('this is no SQL')\n"
    )
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        await asyncio.to_thread(prepare, path, VAULT, broken)
    assert path.read_bytes() == before
    async with opening(path) as db:
        assert (await db.store.lookup("kept")).name == "kept"


async def test_a_later_migration_is_run_at_start(path: Path, tmp_path: Path) -> None:
    await made(path)
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later)
    (later / "versions" / "0900_adds.py").write_text(
        "from alembic import op\n"
        "revision, down_revision = '0900', '0002'\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE later (id INTEGER)')\n"
    )
    await asyncio.to_thread(prepare, path, VAULT, later)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0900",)]
        assert connection.execute("SELECT count(*) FROM later").fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM sandboxes").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be one" * 99, b"SQLite format 3\x00" * 64]
)
async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    refusal = await refused(path)
    assert str(path) in refusal.message
    assert path.read_bytes() == content


async def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    refusal = await refused(path)
    assert "not made by ciab" in refusal.message
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


async def test_a_refused_start_leaves_no_new_database_behind(path: Path, tmp_path: Path) -> None:
    empty = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, empty)
    (empty / "versions" / "0001_first_schema.py").write_text("syntax error")
    path.parent.mkdir()
    with pytest.raises(SyntaxError):
        await asyncio.to_thread(prepare, path, VAULT, empty)
    assert list(path.parent.iterdir()) == []


async def test_a_full_disk_is_told_and_nothing_is_half_saved(path: Path) -> None:
    async with opening(path) as db:
        sandbox = await db.store.add(a_sandbox("kept"))
        await _limit_pages(db)
        with pytest.raises(RuntimeUnavailable, match="the disk is full"):
            while True:
                sandbox = await db.store.save(sandbox, Noted("fill", "x" * 10_000))
        assert await db.store.get(sandbox.id) == sandbox
        await _limit_pages(db, pages=1_000_000)
        saved = await db.store.save(sandbox, Noted("fill", "fits again"))
        assert saved.version == sandbox.version + 1


async def _limit_pages(db: Database, pages: int | None = None) -> None:
    """As if the disk ended here: of the one connection that the pool has made so far."""
    async with db.sql.reading("limit") as connection:
        now = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages or now + 5}")


async def test_a_damaged_database_is_told(path: Path) -> None:
    async with opening(path) as db:
        for _ in range(200):
            await db.store.add(a_sandbox(spec=Spec("command", labels={"fill": "x" * 500})))
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xde\xad" * ((len(content) - 8192) // 2)
    path.write_bytes(content)
    with pytest.raises((RuntimeFault, ConfigError), match=r"damaged|no database"):
        async with opening(path) as db:
            await db.store.lookup("kept")


async def test_many_readers_and_writers_at_once_all_get_their_turn(path: Path) -> None:
    async with opening(path) as db:
        boxes = [await db.store.add(a_sandbox()) for _ in range(20)]
        reads = (db.store.get(boxes[number % 20].id) for number in range(300))
        writes = (db.store.save(box, Noted("turn", "taken")) for box in boxes)
        assert len(await asyncio.gather(*reads, *writes)) == 320
        assert {box.version for box in await db.store.page(Query())} == {1}


async def test_a_cancelled_save_goes_on_to_its_end_and_is_told(path: Path) -> None:
    async with opening(path) as db:
        sandbox = await db.store.add(a_sandbox())
        follower = db.events.follow(sandbox.id, 0)
        first = await anext(follower)
        saving = asyncio.create_task(db.store.save(sandbox.to(State.CREATING)))
        await asyncio.sleep(0)
        saving.cancel()
        async with asyncio.timeout(10):
            second = await anext(follower)
        assert (first.data["to"], second.data["to"]) == ("pending", "creating")
        assert (await db.store.get(sandbox.id)).state is State.CREATING
        await follower.aclose()
