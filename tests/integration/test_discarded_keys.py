"""What is left of keys after they were discarded: nothing, not even sealed."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ciab.adapters.db import open_database
from ciab.adapters.db.database import Database
from ciab.adapters.vault import AesGcmVault
from ciab.core.errors import RuntimeUnavailable
from ciab.core.secret import Secret
from tests.databases import KEY, a_sandbox, an_attempt, some_keys, ticking


async def test_discarded_keys_leave_no_trace_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "ciab.db"
    async with open_database(path, AesGcmVault(KEY), ticking(), 1000) as db:
        sandbox = await db.store.add(a_sandbox())
        await db.keys.keep(sandbox.id, some_keys())
        await db.attempts.begin(replace(an_attempt(sandbox.id), request=Secret("host key" * 4000)))
        sealed = await _sealed(db)
        assert len(sealed) == 2
        assert _left_of(sealed, path) > 0.9
        assert _left_of([b"private user key" * 2], path) == 0
        await db.keys.discard(sandbox.id)
        assert _left_of(sealed, path) == 0
        assert path.with_name("ciab.db-wal").stat().st_size == 0


async def test_a_discard_that_a_reader_holds_up_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "ciab.db"
    async with open_database(path, AesGcmVault(KEY), ticking(), 1000) as db:
        sandbox = await db.store.add(a_sandbox())
        await db.keys.keep(sandbox.id, some_keys())
        sealed = await _sealed(db)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM keys").fetchall()
            with pytest.raises(RuntimeUnavailable, match="write-ahead log"):
                await db.keys.discard(sandbox.id)
            await db.store.save(sandbox)
        await db.keys.discard(sandbox.id)
        assert _left_of(sealed, path) == 0


async def _sealed(db: Database) -> list[bytes]:
    async with db.sql.reading("look") as connection:
        query = "SELECT pairs FROM keys UNION ALL SELECT request FROM launch_attempts"
        return list((await connection.exec_driver_sql(query)).scalars())


def _left_of(texts: list[bytes], path: Path) -> float:
    """The share of the texts' pieces that stand in any file of the folder; one on two pages does not."""
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    pieces = [text[at : at + 16] for text in texts for at in range(0, len(text) - 16, 16)]
    return sum(piece in content for piece in pieces) / len(pieces)
