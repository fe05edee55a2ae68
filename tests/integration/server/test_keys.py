"""Keys of config.toml that the server itself obeys: each test fails when its key is ignored."""

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from ciab.core.errors import Unauthorized
from ciab.core.states import State
from ciab.schema.spec import SandboxSpec
from tests.region import RunningRegion
from tests.server import RunningServer, server

KEY = "a-key-of-sixteen-characters"


async def test_the_keys_of_server_security_streaming_and_logging_have_their_effects(tmp_path: Path) -> None:
    config = {
        "server": {
            "host": "127.0.0.2",
            "public_hosts": ["ciab.example.org"],
            "cors_origins": ["https://ui.example.org"],
            "request_timeout_secs": 1,
        },
        "security": {"api_keys": [KEY]},
        "streaming": {"keepalive_interval_secs": 1, "retain_events": 3},
        "logging": {"level": "debug", "format": "json"},
    }
    async with server(tmp_path, config) as here:
        assert here.url.startswith("http://127.0.0.2:")
        async with here.http() as http:
            assert (await http.get("/health", headers={"Host": "ciab.example.org"})).status_code == 200
            assert (await http.get("/health", headers={"Host": "evil.example.org"})).status_code == 403
            cors = await http.get("/health", headers={"Origin": "https://ui.example.org"})
            assert cors.headers["access-control-allow-origin"] == "https://ui.example.org"
        async with here.client("another-key-altogether") as client:
            with pytest.raises(Unauthorized):
                await client.list_sandboxes()
        async with here.client(KEY) as client, here.http(headers={"X-API-Key": KEY}) as http:
            await client.create_sandbox(SandboxSpec(agent_provider="command", name="one"))
            assert (await client.wait_until("one")).state is State.RUNNING
            slow = await http.post("/api/v1/sandboxes/one/exec", json={"command": ["sleep", "60"]})
            assert (slow.status_code, slow.json()["error"]["code"]) == (504, "timeout")
            await _keeps_alive_with_few_events(http)
        lines = [line for line in here.output().splitlines() if line.startswith("{")]
        assert {json.loads(line)["level"] for line in lines} >= {"debug", "info"}


async def _keeps_alive_with_few_events(http: httpx.AsyncClient) -> None:
    kinds: list[str] = []
    async with http.stream("GET", "/api/v1/sandboxes/one/stream") as stream:
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            if kinds[-1:] == ["keepalive"]:
                break
    assert kinds[0] == "connected"
    assert kinds[-2] == "provisioning_complete"
    assert 3 <= len(kinds) - 2 <= 5, "all but the last few were evicted"


async def test_quiet_logs_and_another_database(tmp_path: Path) -> None:
    database = tmp_path / "of my own" / "my.db"
    config = {"database": {"url": f"sqlite:///{database}"}, "logging": {"level": "error"}}
    async with server(tmp_path, config) as here:
        async with here.http() as http:
            await http.get("/api/v1/sandboxes")
        assert database.exists()
        assert "request answered" not in here.output()


async def test_what_an_end_cannot_do_in_its_time_is_named_and_done_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with server(tmp_path, {"server": {"shutdown_timeout_secs": 3}}) as here:
        async with here.client() as client:
            made = await client.create_sandbox(SandboxSpec(agent_provider="command", name="stuck"))
            assert (await client.wait_until("stuck")).state is State.RUNNING
        region = RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])
        await region.set_faults(denied=["TerminateInstances"])
        assert here.end(signal.SIGTERM) == 1
        [left] = [line for line in here.output().splitlines() if line.startswith("left: ")]
        assert f"sandbox stuck ({made.id}, machine i-" in left
        assert "the next start of the server goes on" in left

        here.start()
        async with here.client() as client:
            assert (await client.wait_until("stuck", {State.TERMINATED})).state is State.TERMINATED
        assert await here.machines() == []


async def test_machines_without_isolation_are_announced(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "bwrap"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'bwrap: no permissions' >&2\nexit 1\n")
    broken.chmod(0o755)
    path = f"{broken.parent}:{os.environ['PATH']}"
    async with server(tmp_path, environment={"PATH": path}) as here:
        assert "WARNING: no isolation: bwrap: no permissions" in here.output()
        async with here.client() as client:
            assert any("no isolation" in warning for warning in (await client.ready()).warnings)


def test_a_server_that_is_told_to_end_before_it_listens_ends(tmp_path: Path) -> None:
    here = RunningServer(tmp_path)
    here.spawn()
    while not here.database.exists():
        assert here.running(), here.output()
    assert here.end() == 0
    assert not (here.region_folder / "endpoint.json").exists()
