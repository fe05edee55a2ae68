"""`rotate_key`: all opens with the new key and nothing with the old, at whatever instant it is cut off."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary

from ciab.adapters.db import open_database
from ciab.adapters.db.reseal import SEALED
from ciab.adapters.db.tables import meta, metadata
from ciab.adapters.vault import AesGcmVault, Key, load_keys, read_key_file
from ciab.core.errors import ConfigError
from ciab.core.machine import SandboxKeys
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.server.config import load
from ciab.server.rotation import Rotated, rotate_key
from tests.databases import a_sandbox, an_attempt, some_keys, ticking

ENV = "CIAB_ENCRYPTION_KEY"

KILLED_AT = """
import asyncio, os, signal, sys
from pathlib import Path
from ciab.server.config import load
from ciab.server.rotation import rotate_key

settings = load(environ={"CIAB_DATABASE__URL": f"sqlite:///{sys.argv[1]}"}).settings
left = int(sys.argv[2])

def audit(event, arguments):
    global left
    if event in {"open", "os.rename", "os.remove", "os.chmod", "os.truncate"} and "data" in str(arguments[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(audit)
asyncio.run(rotate_key(settings, {}))
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    yield tmp_path / "data" / "ciab.db"


def opened(path: Path, *keys: Key) -> Any:
    return open_database(path, AesGcmVault(*keys), ticking(), 1000)


def kept_keys(number: int) -> SandboxKeys:
    """The second sandbox is entered with the operator's own key pair."""
    return replace(some_keys(), user=None) if number == 1 else some_keys()


async def fill(path: Path, *keys: Key) -> None:
    async with opened(path, *keys) as db:
        for number in range(3):
            spec = Spec("command", env_vars={"TOKEN": Secret(f"s3cret-{number}")})
            sandbox = await db.store.add(a_sandbox(f"box-{number}", spec=spec))
            await db.keys.keep(sandbox.id, kept_keys(number))
            await db.attempts.begin(an_attempt(sandbox.id))
        await db.keys.discard(sandbox.id)


async def check(path: Path, *keys: Key) -> None:
    async with opened(path, *keys) as db:
        for number in range(3):
            sandbox = await db.store.lookup(f"box-{number}")
            assert sandbox.spec.env_vars == {"TOKEN": Secret(f"s3cret-{number}")}
            kept, [attempt] = await db.keys.get(sandbox.id), await db.attempts.past(sandbox.id)
            assert kept == (kept_keys(number) if number < 2 else None)
            assert attempt.request == (an_attempt(sandbox.id).request if number < 2 else Secret(""))


async def rotate(path: Path, environ: dict[str, str], new: Key | None = None) -> Rotated:
    settings = load(environ={"CIAB_DATABASE__URL": f"sqlite:///{path}"}).settings
    return await rotate_key(settings, environ, new)


def test_no_sealed_column_is_forgotten() -> None:
    every = {
        column
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary) and table is not meta
    }
    assert every == {column for _, column, _ in SEALED}


async def test_a_generated_key_is_replaced_in_its_file(path: Path) -> None:
    file = path.with_name("encryption.key")
    old = load_keys(ENV, file, {}, may_make=True).keys
    await fill(path, *old)
    rotated = await rotate(path, {})
    assert (rotated.count, rotated.key_in, rotated.by_hand) == (7, str(file), False)
    [new] = read_key_file(file)
    assert new not in old
    await check(path, new)
    with pytest.raises(ConfigError, match="another encryption key"):
        await check(path, *old)


async def test_nothing_sealed_with_the_old_key_is_left_in_any_file(path: Path) -> None:
    file = path.with_name("encryption.key")
    await fill(path, *load_keys(ENV, file, {}, may_make=True).keys)
    async with opened(path, *read_key_file(file)) as db, db.sql.reading("look") as connection:
        query = "SELECT spec FROM sandboxes UNION ALL SELECT pairs FROM keys"
        sealed = list((await connection.exec_driver_sql(query)).scalars())
    await rotate(path, {})
    content = b"".join(found.read_bytes() for found in path.parent.iterdir())
    pieces = [text[at : at + 16] for text in sealed for at in range(0, len(text) - 16, 16)]
    assert len(pieces) > 50
    assert not any(piece in content for piece in pieces)


async def test_a_key_from_the_environment_needs_one_to_follow(path: Path) -> None:
    old, new = Key(secrets.token_bytes(32)), Key(secrets.token_bytes(32))
    await fill(path, old)
    environ = {ENV: old.material.hex()}
    with pytest.raises(ConfigError, match=ENV):
        await rotate(path, environ)
    await check(path, old)
    assert (await rotate(path, environ, new)).by_hand
    await check(path, new)
    assert not path.with_name("encryption.key").exists()


async def test_a_running_server_is_not_disturbed(path: Path) -> None:
    file = path.with_name("encryption.key")
    keys = load_keys(ENV, file, {}, may_make=True).keys
    async with opened(path, *keys):
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
            await rotate(path, {})
    assert read_key_file(file) == keys


async def test_the_wrong_key_changes_nothing(path: Path) -> None:
    file = path.with_name("encryption.key")
    await fill(path, Key(secrets.token_bytes(32)))
    keys = load_keys(ENV, file, {}, may_make=True).keys
    with pytest.raises(ConfigError, match="another encryption key"):
        await rotate(path, {})
    assert read_key_file(file) == keys


async def test_killed_between_any_two_steps_the_keys_in_place_open_the_database(path: Path) -> None:
    file = path.with_name("encryption.key")
    await fill(path, *load_keys(ENV, file, {}, may_make=True).keys)
    for step in range(30):
        command = [sys.executable, "-c", KILLED_AT, str(path), str(step)]
        ended = subprocess.run(command, check=False, env={"PATH": os.environ["PATH"]})
        await check(path, *read_key_file(file))
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
    assert step > 5
    assert len(read_key_file(file)) == 1
    assert {found.name for found in path.parent.iterdir()} == {"ciab.db", "ciab.db.lock", "encryption.key"}
