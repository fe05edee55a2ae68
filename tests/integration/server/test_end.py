"""The server's orderly end: what it takes down, what it keeps, what it names."""

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from ciab.core.errors import CiabError
from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.region import RunningRegion
from tests.server import RunningServer, server


def spec(name: str, persistence: Persistence = Persistence.EPHEMERAL) -> SandboxSpec:
    return SandboxSpec(agent_provider="command", name=name, persistence=persistence)


async def created(client: Client, *specs: SandboxSpec) -> None:
    infos = [await client.create_sandbox(spec) for spec in specs]
    for info in infos:
        assert (await client.wait_until(info.id)).state is State.RUNNING


def region_lives(here: RunningServer) -> bool:
    return (here.region_folder / "endpoint.json").exists()


async def instances(here: RunningServer) -> dict[str, str]:
    """Of the region alone, when no server runs: sandboxes' names and machines' states."""
    region = RunningRegion(here.region_folder)
    region.start()
    try:
        async with region.client("ec2") as ec2:
            found = await ec2.describe_instances()
    finally:
        region.end()
    listed = [one for reservation in found["Reservations"] for one in reservation["Instances"]]
    return {
        next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "Name"): one["State"]["Name"]
        for one in listed
        if one["State"]["Name"] not in ("terminated", "shutting-down")
    }


async def test_sigterm_terminates_ephemeral_sandboxes_and_stops_persistent_ones(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        async with here.client() as client:
            names = [spec(f"gone-{number}") for number in range(3)]
            await created(client, *names, spec("stays", Persistence.PERSISTENT))
            await client.exec("stays", ExecRequest(command=["bash", "-c", "echo kept > ~/kept"]))
        assert here.end() == 0
        assert "4 sandboxes to take down" in here.output()
        assert "everything was taken down" in here.output()
        assert not region_lives(here)
        assert await instances(here) == {"ciab-stays": "stopped"}

        here.start()
        async with here.client() as client:
            assert [info.name for info in await client.list_sandboxes(state="terminated")] == [
                "gone-2",
                "gone-1",
                "gone-0",
            ]
            await client.start_sandbox("stays")
            assert (await client.wait_until("stays")).state is State.RUNNING
            ran = await client.exec("stays", ExecRequest(command=["cat", "/home/ubuntu/kept"]))
            assert ran.stdout == "kept\n"


async def test_sigusr1_leaves_everything_running_for_the_next_server(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        async with here.client() as client:
            await created(client, spec("a"))
            await client.upload_file("a", "/tmp/kept", b"still the same machine")
        region = here.region()["pid"]
        assert here.end(signal.SIGUSR1) == 0
        assert "1 sandbox left as it is" in here.output()
        os.kill(region, 0)

        here.start()
        assert here.region()["pid"] == region
        async with here.client() as client:
            assert (await client.get_sandbox("a")).state is State.RUNNING
            ran = await client.exec("a", ExecRequest(command=["cat", "/tmp/kept"]))
            assert ran.stdout == "still the same machine"


async def test_on_shutdown_keep_is_obeyed_and_said_at_the_start(tmp_path: Path) -> None:
    config = {"runtime": {"ec2": {"on_shutdown": "keep"}}}
    async with server(tmp_path, config) as here:
        assert 'on_shutdown = "keep"' in here.output()
        async with here.client() as client:
            await created(client, spec("a"))
        assert here.end() == 0
        assert region_lives(here)
        here.start()
        async with here.client() as client:
            assert (await client.get_sandbox("a")).state is State.RUNNING
            await client.delete_sandbox("a")
            await client.wait_until("a")


async def test_new_work_is_refused_while_the_server_ends(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        async with here.client() as client, here.http() as http:
            await created(client, spec("a"))
            await slow_region(here)
            os.kill(here.pid, signal.SIGTERM)
            await said(here, "once more ends at once")  # by then all intents are saved
            assert (await http.get("/ready")).status_code == 503
            with pytest.raises(CiabError) as refused:
                await client.exec("a", ExecRequest(command=["true"]))
            assert refused.value.code == "runtime_unavailable"
            assert "ending" in refused.value.message
            assert (await http.get("/api/v1/sandboxes/a")).json()["state"] == "terminating"
        assert here.wait() == 0


async def test_a_second_sigint_ends_at_once_and_the_next_start_goes_on(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        async with here.client() as client:
            await created(client, spec("a"), spec("b"))
        await slow_region(here)
        os.kill(here.pid, signal.SIGINT)
        await said(here, "once more ends at once")
        assert here.end(signal.SIGINT) == 1
        assert "the next start goes on" in here.output()

        here.start()
        async with here.client() as client:
            for name in ("a", "b"):
                assert (await client.wait_until(name, {State.TERMINATED})).state is State.TERMINATED
        assert await here.machines() == []


async def test_an_open_stream_does_not_hold_the_end(tmp_path: Path) -> None:
    async with server(tmp_path, {"runtime": {"ec2": {"on_shutdown": "keep"}}}) as here:
        async with here.client() as client, here.http() as http:
            await created(client, spec("a"))
            async with http.stream("GET", "/api/v1/sandboxes/a/stream") as stream:
                lines = stream.aiter_lines()
                await anext(lines)
                began = asyncio.get_running_loop().time()
                assert await asyncio.to_thread(here.end) == 0
                assert asyncio.get_running_loop().time() - began < 5
                with pytest.raises(httpx.RemoteProtocolError):
                    async for _ in lines:
                        pass
        assert "Traceback" not in here.output()
        here.start()
        async with here.client() as client:
            await client.delete_sandbox("a")
            await client.wait_until("a")


async def slow_region(here: RunningServer) -> None:
    """Make the region refuse calls that end machines for a while."""
    region = RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])
    await region.set_faults(throttle=[{"action": "TerminateInstances", "times": 6}])


async def said(here: RunningServer, words: str) -> None:
    async with asyncio.timeout(10):
        while words not in here.output():
            await asyncio.sleep(0.01)
