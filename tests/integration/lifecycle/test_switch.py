"""The dead-man's switch: `orphan_timeout_secs` without a server, and nobody has to come for the machines."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ciab.core.states import State
from tests.commands import Ciab
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, persistent, shell, spec
from tests.server import RunningServer, server

ORPHAN_SECS = 8


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    settings = config({"orphan_timeout_secs": ORPHAN_SECS})
    async with server(tmp_path, settings) as running:
        yield running


async def alive_for(ec2: Any, machines: list[str], seconds: float) -> None:
    """These machines run all the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        states = await acting.states(ec2)
        assert [states[one] for one in machines] == ["running"] * len(machines)
        await asyncio.sleep(0.5)  # what is tested is that nothing comes


async def test_who_ends_itself_and_when(here: RunningServer) -> None:
    ciab = Ciab(here.url)
    async with here.client() as client, acting.ec2_of(here) as ec2:
        infos = await acting.running(client, spec("near"), spec("rested"), persistent("kept"))
        near, rested, kept = machines = [instance_of(info) for info in infos]
        await shell(client, "rested", "echo here > ~/file")
        await client.pause_sandbox("rested")
        await becomes(client, "rested", State.PAUSED)
        # a server that is there is heard of; a stop does not count
        await alive_for(ec2, [near, kept], ORPHAN_SECS + 1)
        await client.resume_sandbox("rested")
        await becomes(client, "rested", State.RUNNING)
        assert await shell(client, "rested", "cat ~/file") == "here"

        # gone, and back in time
        here.kill()
        here.start()
        await alive_for(ec2, machines, ORPHAN_SECS)

        # away by order, for longer than the time
        ciab.good("server", "stop", "--keep", "--config", str(here.folder / "config.toml"))
        assert here.wait() == 0
        await alive_for(ec2, machines, ORPHAN_SECS + 2)
        here.start()
    async with here.client() as client, acting.ec2_of(here) as ec2:
        for name in ("near", "rested", "kept"):
            assert await shell(client, name, "echo up") == "up"

        # the switch is on again after that; nobody comes back
        await alive_for(ec2, machines, 1)
        here.kill()
        await acting.reaches(ec2, near, "terminated", secs=3 * ORPHAN_SECS)
        await acting.reaches(ec2, rested, "terminated", secs=ORPHAN_SECS)
        assert (await acting.states(ec2))[kept] == "running"
        here.start()
    async with here.client() as client:
        for info in infos[:2]:
            failure = (await becomes(client, info.id, State.FAILED)).failure
            assert failure is not None
            assert failure.code == "machine_ended"
            assert "ended itself" in failure.message
            assert "nothing was heard of the control plane for 8 s" in (failure.console or "")
        assert await shell(client, "kept", "echo up") == "up"
        again = await client.recover_sandbox(infos[0].id)
        assert (await becomes(client, again.id, State.RUNNING)).recovered_from == infos[0].id


async def test_on_shutdown(tmp_path: Path) -> None:
    short = {"orphan_timeout_secs": 3}
    async with server(tmp_path, config({**short, "on_shutdown": "keep"})) as here:
        async with here.client() as client, acting.ec2_of(here) as ec2:
            infos = await acting.running(client, spec("gone"), persistent("kept"))
            assert here.end() == 0
            await alive_for(ec2, [instance_of(info) for info in infos], 5)
        here.config = config({**short, "on_shutdown": "cleanup"})
        here.start()
        async with here.client() as client:
            for info in infos:
                assert await shell(client, info.id, "echo up") == "up"
        assert here.end() == 0
        ended = acting.rows(here, "SELECT name, state FROM sandboxes ORDER BY name")
        assert ended == [("gone", "terminated"), ("kept", "stopped")]
