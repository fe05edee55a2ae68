"""Starts that are refused: one line saying why and what to do, exit code 1, and nothing changed."""

import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ciab.core.states import State
from ciab.schema.spec import SandboxSpec
from tests.server import RunningServer, server


@pytest.fixture
async def ended(tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that was killed and left a running sandbox."""
    async with server(tmp_path) as here:
        async with here.client() as client:
            await client.create_sandbox(SandboxSpec(agent_provider="command", name="left-behind"))
            assert (await client.wait_until("left-behind")).state is State.RUNNING
        here.kill()
        yield here


def rows(here: RunningServer) -> list[object]:
    with sqlite3.connect(f"file:{here.database}?mode=ro", uri=True) as database:
        return database.execute("SELECT id, state, version, site FROM sandboxes").fetchall()


async def test_another_backend_endpoint_key_or_schema_is_refused_and_nothing_changes(
    ended: RunningServer, tmp_path: Path
) -> None:
    before = rows(ended)
    credentials = {"AWS_ACCESS_KEY_ID": "AKIAOTHERACCOUNT0000", "AWS_SECRET_ACCESS_KEY": "any"}

    ended.config = {"runtime": {"backend": "ec2", "ec2": {"endpoint_url": ended.region()["endpoint"]}}}
    ended.environment = credentials
    said = ended.refused()
    assert "left-behind" in said
    assert "nothing was changed" in said

    ended.config, ended.environment = {}, {"CIAB_ENCRYPTION_KEY": "00" * 32}
    assert "another encryption key" in ended.refused()

    ended.environment = {}
    moved = tmp_path / "elsewhere" / "ciab.db"
    moved.parent.mkdir()
    for file in ended.database.parent.glob("*"):
        if file.is_file():
            (moved.parent / file.name).write_bytes(file.read_bytes())
            (moved.parent / file.name).chmod(0o600)
    ended.config = {"database": {"url": f"sqlite:///{moved}"}}
    said = ended.refused()
    assert "left-behind" in said
    assert str(ended.region_folder) in said
    assert not moved.with_suffix(".region").joinpath("endpoint.json").exists(), "it left a region behind"

    ended.config = {}
    with sqlite3.connect(ended.database) as database:
        [known] = database.execute("SELECT version_num FROM alembic_version").fetchone()
        database.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    assert "newer" in ended.refused()
    with sqlite3.connect(ended.database) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (known,))

    assert rows(ended) == before
    ended.start()
    async with ended.client() as client:
        assert (await client.get_sandbox("left-behind")).state is State.RUNNING
        await client.delete_sandbox("left-behind")
        await client.wait_until("left-behind")
    assert ended.end() == 0


async def test_a_second_server_on_the_same_data_is_told_who_has_it(tmp_path: Path) -> None:
    async with server(tmp_path) as first:
        second = RunningServer(tmp_path / "second", {"database": {"url": f"sqlite:///{first.database}"}})
        assert f"in use by process {first.pid}" in second.refused()


def test_a_taken_port_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        here = RunningServer(tmp_path, {"server": {"port": port}})
        assert f"cannot listen on 127.0.0.1:{port}" in here.refused()
    assert not here.database.exists()


def test_listening_to_the_network_without_keys_is_refused(tmp_path: Path) -> None:
    here = RunningServer(tmp_path, {"server": {"host": "0.0.0.0"}})
    assert "api_keys" in here.refused()
    here = RunningServer(tmp_path)
    here.spawn("--host", "0.0.0.0")
    assert here.wait() == 1
    assert "api_keys" in here.output()
    assert not here.database.exists()
