"""A server or a region that dies without an order: the next one goes on, nothing is lost or doubled."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ciab.core.errors import GuestUnreachable
from ciab.core.states import State
from ciab.schema.events import StreamEvent
from ciab.schema.exec import ExecRequest
from ciab.schema.spec import SandboxSpec
from tests.server import server


def spec(name: str) -> SandboxSpec:
    return SandboxSpec(agent_provider="command", name=name)


async def test_kill_9_in_the_middle_of_everything_and_the_next_start_finishes_it(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        async with here.client() as client:
            runs = await client.create_sandbox(spec("runs"))
            await client.wait_until(runs.id)
            await client.upload_file("runs", "mark", b"before")
            halfway = await client.create_sandbox(spec("halfway"))
            async for event in client.events(halfway.id):
                if event.data.get("step") == "launch_machine":
                    break
            ends = await client.create_sandbox(spec("ends"))
            await client.delete_sandbox("ends")
        region = here.region()["pid"]
        here.kill()

        here.start()
        assert here.region()["pid"] == region, "the region that still runs is taken up again"
        async with here.client() as client:
            assert (await client.wait_until(ends.id, {State.TERMINATED})).state is State.TERMINATED
            assert (await client.wait_until(halfway.id)).state is State.RUNNING
            assert (await client.get_sandbox(runs.id)).state is State.RUNNING
            ran = await client.exec("runs", ExecRequest(command=["cat", "mark"]))
            assert ran.stdout == "before"
            story = [e.id or 0 async for e in _until_complete(client.events(halfway.id))]
            assert story == sorted(set(story))
        tags = [
            tag["Value"]
            for one in await here.machines()
            for tag in one["Tags"]
            if tag["Key"] == "ciab-sandbox-id"
        ]
        assert sorted(tags) == sorted([runs.id, halfway.id])
        assert here.end() == 0


async def test_a_region_that_dies_is_started_again_and_its_machines_can_be_started(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        async with here.client() as client:
            await client.create_sandbox(spec("a"))
            await client.wait_until("a")
            await client.upload_file("a", "mark", b"kept")
            region = here.region()["pid"]
            os.kill(region, signal.SIGKILL)
            async with asyncio.timeout(60):
                while "the local region is back" not in here.output():
                    await asyncio.sleep(0.05)
            assert here.region()["pid"] != region
            await client.stop_sandbox("a")
            await client.wait_until("a", {State.STOPPED})
            await client.start_sandbox("a")
            assert (await client.wait_until("a")).state is State.RUNNING
            ran = await client.exec("a", ExecRequest(command=["cat", "mark"]))
            assert ran.stdout == "kept"
        assert here.end() == 0


async def test_a_server_and_a_region_that_both_died_come_back(tmp_path: Path) -> None:
    async with server(tmp_path) as here:
        async with here.client() as client:
            await client.create_sandbox(spec("a"))
            await client.wait_until("a")
            await client.upload_file("a", "mark", b"kept")
        here.kill()
        os.kill(here.region()["pid"], signal.SIGKILL)

        here.start()
        async with here.client() as client:
            assert (await client.get_sandbox("a")).state is State.RUNNING
            with pytest.raises(GuestUnreachable):
                await client.exec("a", ExecRequest(command=["true"]))
            await client.stop_sandbox("a")
            await client.wait_until("a", {State.STOPPED})
            await client.start_sandbox("a")
            assert (await client.wait_until("a")).state is State.RUNNING
            ran = await client.exec("a", ExecRequest(command=["cat", "mark"]))
            assert ran.stdout == "kept"
        assert "'ciab sandbox start' brings back a" in here.output()
        assert here.end() == 0


async def _until_complete(events: AsyncIterator[StreamEvent]) -> AsyncIterator[StreamEvent]:
    """Those that are kept, up to running."""
    async for event in events:
        if event.id is not None:
            yield event
        if event.event_type == "provisioning_complete":
            return
