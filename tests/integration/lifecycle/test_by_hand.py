"""Machines that somebody else moves, while the server runs and while it is away; and looks that fail."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ciab.core.states import State
from ciab.schema.sandboxes import Failure, SandboxInfo
from ciab.sdk.client import Client
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, persistent, shell, spec
from tests.server import RunningServer, server

GRACE_SECS = 4
SOON_SECS = 12
"""More than two looks a second apart take, and less than two at the usual distance."""
OFF = "nohup setsid sh -c 'sleep 1; sudo shutdown -h now' >/dev/null 2>&1 &"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    settings = config(reaper={"interval_secs": 1, "grace_secs": GRACE_SECS})
    async with server(tmp_path_factory.mktemp("hand"), settings) as running:
        yield running


async def failed(client: Client, info: SandboxInfo, *words: str) -> None:
    """It has failed for this reason, which says what to do."""
    told(await becomes(client, info.id, State.FAILED), "machine_ended", "recover", words)


async def stopped(client: Client, info: SandboxInfo, *words: str) -> None:
    """It is stopped for this reason, and its disk is intact."""
    told(
        await becomes(client, info.id, State.STOPPED, secs=SOON_SECS),
        "machine_stopped",
        "its disk is intact",
        words,
    )


def told(info: SandboxInfo, code: str, hint: str, words: tuple[str, ...]) -> None:
    failure: Failure | None = info.failure
    assert failure is not None
    assert failure.code == code
    assert hint in (failure.hint or "")
    assert [word for word in (instance_of(info), *words) if word not in failure.message] == []


async def ends(ec2: Any, info: SandboxInfo, verb: str) -> None:
    """Do it as the AWS console does."""
    await getattr(ec2, f"{verb}_instances")(InstanceIds=[instance_of(info)])


async def test_while_the_server_runs(here: RunningServer) -> None:
    async with here.client() as client, acting.ec2_of(here) as ec2:
        ended, halted, off, kept_off, bare, paused, _ = infos = await acting.running(
            client,
            *(spec("ended"), persistent("halted"), spec("off"), persistent("kept-off")),
            *(spec("bare"), spec("paused"), spec("same")),
        )
        await client.pause_sandbox("paused")
        await becomes(client, "paused", State.PAUSED)
        for name in ("off", "kept-off"):
            await shell(client, name, OFF)
        await ends(ec2, ended, "terminate")
        await ends(ec2, halted, "stop")
        await ec2.delete_tags(Resources=[instance_of(bare)], Tags=[{"Key": "ciab-managed"}])
        await ends(ec2, bare, "terminate")  # without its tags it is not shown; while it answers it is there
        gone_at = time.monotonic()

        asked = "somebody outside CIAB"
        await failed(client, ended, f"{asked} terminated", "Client.UserInitiatedShutdown")
        await stopped(client, halted, f"{asked} stopped", "Client.UserInitiatedShutdown")
        await failed(client, off, "ended itself", "Client.InstanceInitiatedShutdown")
        await stopped(client, kept_off, "stopped itself", "Client.InstanceInitiatedShutdown")
        await failed(client, bare, "is gone", "us-east-1")
        assert time.monotonic() - gone_at >= GRACE_SECS

        for info in (halted, paused):
            await ends(ec2, info, "start")
            back = await becomes(client, info.id, State.RUNNING)
            assert f"started machine {instance_of(info)}" in (back.reason or "")
            assert await shell(client, info.id, "echo up") == "up"
        unmoved = await client.get_sandbox("same")
        assert (unmoved.state, unmoved.failure, unmoved.reason) == (State.RUNNING, None, None)
        for info in infos:
            await client.delete_sandbox(info.id)


async def test_a_look_that_fails_changes_nothing(here: RunningServer) -> None:
    region = acting.region_of(here)
    async with here.client() as client, acting.ec2_of(here) as ec2:
        (info,) = await acting.running(client, spec("unseen"))
        await region.set_faults(error=[{"action": "Describe*"}])
        await ends(ec2, info, "terminate")
        # more looks than the grace lasts
        await acting.asked_again(here, "DescribeInstances", 2 * GRACE_SECS)
        assert (await client.get_sandbox("unseen")).state is State.RUNNING
        await region.set_faults(error=[])
        await failed(client, info, "somebody outside CIAB terminated")


async def test_while_the_server_is_away(here: RunningServer) -> None:
    async with here.client() as client:
        ended, halted, begun, off, _ = await acting.running(
            client,
            *(spec("ended"), persistent("halted"), persistent("begun")),
            *(spec("off"), spec("same")),
        )
        await client.stop_sandbox("begun")
        await becomes(client, "begun", State.STOPPED)
        await shell(client, "off", OFF)
    here.kill()
    async with acting.ec2_of(here) as ec2:
        await ends(ec2, ended, "terminate")
        await ends(ec2, halted, "stop")
        await ends(ec2, begun, "start")
        await acting.reaches(ec2, instance_of(off), "terminated")
        await acting.reaches(ec2, instance_of(halted), "stopped")
        await acting.reaches(ec2, instance_of(begun), "running")
    here.start()
    async with here.client() as client:
        await failed(client, ended, "somebody outside CIAB terminated")
        await failed(client, off, "ended itself")
        await stopped(client, halted, "somebody outside CIAB stopped")
        assert "somebody outside" in ((await becomes(client, "begun", State.RUNNING)).reason or "")
        for name in ("begun", "same"):
            assert await shell(client, name, "echo up") == "up"
        await client.start_sandbox("halted")
        assert (await becomes(client, "halted", State.RUNNING)).failure is None
