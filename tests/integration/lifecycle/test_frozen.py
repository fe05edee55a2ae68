"""`stop_on_pause = false`: the machine runs on, and everything in it stands still until it is resumed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ciab.core.errors import InvalidState
from ciab.core.sandbox import Held
from ciab.core.states import State
from ciab.sdk.client import Client
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, persistent, shell, spec
from tests.server import RunningServer, server

COUNTING = "nohup sh -c 'while :; do printf . >>~/count; sleep 0.02; done' >/dev/null 2>&1 &"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, config({"stop_on_pause": False})) as running:
        yield running


def count(here: RunningServer, instance_id: str) -> int:
    """How far it has counted, from the machine's disk: nothing has to run there for that."""
    return sum(file.stat().st_size for file in (here.region_folder / "machines" / instance_id).rglob("count"))


async def test_a_frozen_sandbox(here: RunningServer) -> None:
    async with here.client() as client, acting.ec2_of(here) as ec2:
        info, idle, kept = await acting.running(
            client, spec("box"), spec("idle", idle_timeout_secs=2), persistent("kept")
        )
        machine = instance_of(info)
        await shell(client, "box", COUNTING)
        await goes_on(here, machine)
        await client.pause_sandbox("box")
        assert (await becomes(client, "box", State.PAUSED)).held is Held.FROZEN
        still = count(here, machine)
        await refused(client, "box")
        # time in which it would count on, and two looks of the watch
        await acting.asked_again(here, "DescribeInstances", 3)
        assert count(here, machine) == still
        assert (await acting.states(ec2))[machine] == "running"

        await client.resume_sandbox("box")
        assert (await becomes(client, "box", State.RUNNING)).held is None
        await goes_on(here, machine)

        # idleness stops the machine, whatever the key says
        resting = await becomes(client, "idle", State.PAUSED)
        assert resting.held is Held.STOPPED
        assert "idle" in (resting.reason or "")
        await acting.reaches(ec2, instance_of(idle), "stopped")

        # a frozen one can be stopped, ended and taken down
        for name in ("box", "kept"):
            await client.pause_sandbox(name)
            await becomes(client, name, State.PAUSED)
        await client.stop_sandbox("box")
        await becomes(client, "box", State.STOPPED)
        await acting.reaches(ec2, machine, "stopped")
    assert here.end() == 0
    assert acting.rows(here, "SELECT state FROM sandboxes WHERE id = ?", kept.id) == [("stopped",)]


async def goes_on(here: RunningServer, machine: str) -> None:
    """Wait until it counts."""
    before = count(here, machine)

    async def counts() -> bool:
        return count(here, machine) > before

    await acting.until("it counts", counts)


async def refused(client: Client, name: str) -> None:
    """Nothing is let in while it is paused, and the refusal says what to do."""
    for access in (
        lambda: shell(client, name, "true"),
        lambda: client.list_files(name, "/"),
        lambda: client.upload_file(name, "/tmp/x", b"x"),
        lambda: client.proxy(name).__aenter__(),
    ):
        with pytest.raises(InvalidState) as told:
            await access()
        assert told.value.code == "sandbox_invalid_state"
        assert told.value.hint == "resume it first"
