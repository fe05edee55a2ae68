"""Much data, many clients and slow ones: memory stays where it is, and nobody waits for another."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.spec import SandboxSpec
from tests.server import RunningServer, server

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
PATH = "/api/v1/sandboxes/one"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """A server that has one running sandbox, `one`, and whose code has run once."""
    async with server(tmp_path_factory.mktemp("much")) as here, here.client() as client:
        await client.create_sandbox(SandboxSpec(agent_provider="command", name="one"))
        assert (await client.wait_until("one")).state is State.RUNNING
        await client.upload_file("one", "small", b"x" * MIB)
        async for _ in client.download_file("one", "small"):
            pass
        async for _ in client.exec_stream("one", ExecRequest(command=["cat", "small"])):
            pass
        yield here


def memory_mib(here: RunningServer) -> float:
    """Resident memory of the server's process."""
    status = Path(f"/proc/{here.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def most_memory_while(here: RunningServer, work: "asyncio.Task[None]") -> float:
    """How much the server's memory grew at most, in MiB."""
    before = most = memory_mib(here)
    while not work.done():
        most = max(most, memory_mib(here))
        await asyncio.wait({work}, timeout=0.02)
    await work
    return most - before


async def test_100_mb_of_output_stream_through_constant_memory(here: RunningServer) -> None:
    async def work() -> None:
        total = 0
        async with here.client() as client:
            request = ExecRequest(command=["head", "-c", "100000000", "/dev/zero"])
            async for frame in client.exec_stream("one", request):
                total += len(frame.text) if frame.type == "stdout" else 0
        assert total == 100_000_000

    assert await most_memory_while(here, asyncio.create_task(work())) < 40


async def test_files_stream_both_ways_through_constant_memory(here: RunningServer) -> None:
    size = 100 * MIB

    async def content() -> AsyncIterator[bytes]:
        for _ in range(size // MIB):
            yield b"y" * MIB

    async def work() -> None:
        total = 0
        async with here.client() as client:
            await client.upload_file("one", "large", content())
            async for piece in client.download_file("one", "large"):
                total += len(piece)
            await client.delete_file("one", "large")
        assert total == size

    assert await most_memory_while(here, asyncio.create_task(work())) < 40


async def test_an_upload_that_is_cut_leaves_the_old_file(here: RunningServer) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"new" * MIB
        raise ConnectionError("the client's own trouble")

    async with here.client() as client:
        await client.upload_file("one", "kept", b"old")
        with pytest.raises(ConnectionError):
            await client.upload_file("one", "kept", broken())
        look = ExecRequest(command=["bash", "-c", "cat kept; ls -A | wc -l"])
        async with asyncio.timeout(10):  # the server learns of it a moment after the client
            while (ran := await client.exec("one", look)).stdout != "old2\n":
                assert ran.stdout.startswith("old"), "the old content, until a whole new one is there"


async def test_a_reader_that_stalls_holds_up_nobody(here: RunningServer) -> None:
    async with here.http() as http, here.client() as client:
        body = {"command": ["head", "-c", str(200 * MIB), "/dev/zero"]}
        async with http.stream("POST", f"{PATH}/exec/stream", json=body) as stalled:
            assert stalled.status_code == 200
            before = memory_mib(here)
            for _ in range(20):
                async with asyncio.timeout(10):
                    ran = await client.exec("one", ExecRequest(command=["echo", "on"]))
                assert ran.stdout == "on\n"
            assert memory_mib(here) - before < 40
        count = ExecRequest(command=["bash", "-c", "pgrep -fc '^head -c'"])
        async with asyncio.timeout(10):
            while (await client.exec("one", count)).stdout != "0\n":
                await asyncio.sleep(0.05)


async def test_every_one_of_many_followers_gets_every_event(here: RunningServer) -> None:
    async with here.client() as client:
        made = await client.create_sandbox(SandboxSpec(agent_provider="command", name="followed"))

        async def follow() -> list[int]:
            return [event.id async for event in client.events(made.id) if event.id is not None]

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            followers = [group.create_task(follow()) for _ in range(30)]
            await client.wait_until("followed")
            await client.delete_sandbox("followed")
        told = [follower.result() for follower in followers]
        assert all(one == told[0] for one in told)
        assert told[0] == sorted(set(told[0]))
