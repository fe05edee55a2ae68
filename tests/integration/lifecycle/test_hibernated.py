"""`hibernate_on_pause`: memory is kept, and its loss is told. `auto_resume`: whoever uses it, wakes it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ciab.core.sandbox import Held
from ciab.core.states import State
from ciab.sdk.client import Client
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, shell, spec
from tests.server import RunningServer, server

REMEMBERING = """cd; cat >remember.py <<'END'
import signal, sys
known = sys.argv[1]
signal.signal(signal.SIGUSR1, lambda *_: open("told", "w").write(known))
open("ready", "w")
while True:
    signal.pause()
END
nohup python3 remember.py tulip >/dev/null 2>&1 &
until [ -f ready ]; do sleep 0.02; done; echo $!"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, config({"hibernate_on_pause": True, "auto_resume": True})) as running:
        yield running


async def paused(client: Client, name: str) -> None:
    await client.pause_sandbox(name)
    assert (await becomes(client, name, State.PAUSED)).held is Held.HIBERNATED


async def test_memory_and_who_wakes_it(here: RunningServer) -> None:
    async with here.client() as client, acting.ec2_of(here) as ec2:
        (info,) = await acting.running(client, spec("box"))
        pid = await shell(client, "box", REMEMBERING)
        await paused(client, "box")
        await acting.reaches(ec2, instance_of(info), "stopped")
        assert (await acting.requests(here, "StopInstances"))[-1]["Hibernate"] == "true"

        # a command: what was in memory is still there
        ask = f"rm -f ~/told; kill -USR1 {pid}; until [ -s ~/told ]; do sleep 0.02; done; cat ~/told"
        assert await shell(client, "box", ask) == "tulip"
        assert (await client.get_sandbox("box")).state is State.RUNNING
        assert acting.rows(here, "SELECT message FROM journal WHERE kind = 'note'") == []

        # a transfer
        await client.upload_file("box", "~/file", b"on the disk")
        await paused(client, "box")
        assert b"".join([part async for part in client.download_file("box", "~/file")]) == b"on the disk"

        # ssh through the server
        await paused(client, "box")
        async with client.proxy("box") as tunnel:
            async with asyncio.timeout(10):
                greeting = await tunnel.recv()
            assert isinstance(greeting, bytes) and greeting.startswith(b"SSH-2.0")
        assert (await client.get_sandbox("box")).state is State.RUNNING

        # several at once wake it once
        await paused(client, "box")
        starts = await acting.count_of(here, "StartInstances")
        assert await asyncio.gather(*(shell(client, "box", "echo up") for _ in range(4))) == ["up"] * 4
        assert await acting.count_of(here, "StartInstances") == starts + 1

        # to look is no use, and wakes nobody
        await paused(client, "box")
        await client.get_sandbox("box")
        await client.list_sandboxes()
        await acting.asked_again(here, "DescribeInstances", 2)
        assert (await client.get_sandbox("box")).state is State.PAUSED

        # EC2 shuts down instead, without a word
        await acting.region_of(here).set_faults(hibernation_fails=[{"times": 1}])
        assert await shell(client, "box", "true") == ""
        await paused(client, "box")
        assert await shell(client, "box", "pgrep -f '[r]emember' || cat ~/file") == "on the disk"
        told = await acting.warned(client, "box", "memory_lost")
        assert "booted anew, its disk is intact" in told.data["message"]
