"""A resume or start that fails leads back to where it was: disk intact, reason told, the next one works."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ciab.core.errors import InvalidState
from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.region import RunningRegion
from tests.server import RunningServer, server

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD: dict[str, Any] = {"capacity": [], "start_fails": [], "delay": [], "lose": [], "pending_secs": 0.2}
PATIENT: dict[str, Any] = {}
IMPATIENT = {"runtime": {"ec2": {"instance_ready_timeout_secs": 1}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with server(tmp_path_factory.mktemp("resumes")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def region(here: RunningServer) -> AsyncIterator[RunningRegion]:
    made = RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])
    yield made
    await made.set_faults(**GOOD)


async def resting(here: RunningServer, name: str, persistence: Persistence = Persistence.EPHEMERAL) -> State:
    """A sandbox with a file, paused or, where it is persistent, stopped. In which state it is now."""
    async with here.client() as client:
        await client.create_sandbox(SandboxSpec(agent_provider="command", name=name, persistence=persistence))
        assert (await client.wait_until(name)).state is State.RUNNING
        await client.upload_file(name, "~/mark", name.encode())
        kept = persistence is Persistence.PERSISTENT
        await (client.stop_sandbox if kept else client.pause_sandbox)(name)
        return (await client.wait_until(name)).state


async def back(client: Client, name: str) -> SandboxInfo:
    """Ask for it to run again, in the way that its state needs, and wait for how that ends."""
    paused = (await client.get_sandbox(name)).state is State.PAUSED
    await (client.resume_sandbox if paused else client.start_sandbox)(name)
    return await client.wait_until(name)


async def failed_and_intact(here: RunningServer, name: str, where: State, code: str) -> SandboxInfo:
    """It is where it was, says why, refuses what needs a machine, and costs no more than its disk."""
    async with here.client() as client:
        info = await client.wait_until(name)
        assert (info.state, info.failure and info.failure.code) == (where, code), info.failure
        assert info.failure
        assert info.failure.step == "start_machine"
        assert info.failure.message
        with pytest.raises(InvalidState) as refused:
            await client.exec(name, ExecRequest(command=["true"]))
        assert refused.value.hint
        assert info.cost
        assert info.cost.usd_hour
        assert info.cost.usd_hour < 0.01
    machines = {one["InstanceId"]: one["State"]["Name"] for one in await here.machines()}
    assert info.instance
    assert machines[info.instance.id] == "stopped"
    return info


async def the_next_works(here: RunningServer, name: str) -> None:
    async with here.client() as client:
        info = await back(client, name)
        assert (info.state, info.failure) == (State.RUNNING, None)
        ran = await client.exec(name, ExecRequest(command=["cat", "/home/ubuntu/mark"]))
        assert ran.stdout == name
        await client.delete_sandbox(name)
        await client.wait_until(info.id)


@pytest.mark.parametrize("persistence", list(Persistence))
async def test_no_capacity(here: RunningServer, region: RunningRegion, persistence: Persistence) -> None:
    where = await resting(here, "full", persistence)
    await region.set_faults(capacity=[{"type": "*"}])
    for _ in range(2):  # and once more: trying again does no harm
        async with here.client() as client:
            await back(client, "full")
        info = await failed_and_intact(here, "full", where, "capacity_unavailable")
        assert info.failure
        assert info.failure.hint
    await region.set_faults(capacity=[])
    await the_next_works(here, "full")


async def test_a_machine_that_does_not_boot(here: RunningServer, region: RunningRegion) -> None:
    where = await resting(here, "broken")
    await region.set_faults(start_fails=[{"times": 1, "message": "the volume is broken"}])
    async with here.client() as client:
        await back(client, "broken")
    await failed_and_intact(here, "broken", where, "ec2_error")
    await the_next_works(here, "broken")


async def test_a_machine_that_is_not_up_in_time_is_stopped_once_it_is(
    here: RunningServer, region: RunningRegion
) -> None:
    where = await resting(here, "slow")
    restart(here, IMPATIENT)
    await region.set_faults(pending_secs=3.0)
    async with here.client() as client:
        await back(client, "slow")
    await failed_and_intact(here, "slow", where, "runtime_unavailable")
    restart(here, PATIENT)
    await region.set_faults(pending_secs=0.2)
    await the_next_works(here, "slow")


async def test_a_machine_that_lets_nobody_in(here: RunningServer) -> None:
    where = await resting(here, "locked")
    async with here.client() as client:
        machine = (await client.get_sandbox("locked")).instance
    assert machine
    keys = here.region_folder / "machines" / machine.id / "home/ubuntu/.ssh"
    aside = keys.with_name("aside")
    keys.rename(aside)
    keys.write_text("not a folder\n")  # what the user did to their home: no key can be put there
    async with here.client() as client:
        await back(client, "locked")
    await failed_and_intact(here, "locked", where, "ssh_error")
    keys.unlink()
    aside.rename(keys)
    await the_next_works(here, "locked")


async def test_a_server_killed_in_between_comes_to_the_same_end(
    here: RunningServer, region: RunningRegion
) -> None:
    where = await resting(here, "between")
    slow = {"action": "StartInstances", "secs": 60, "when": "after", "times": 1}
    await region.set_faults(capacity=[{"type": "*"}], delay=[slow])
    async with here.client() as client, asyncio.timeout(30):
        await client.resume_sandbox("between")
        while (await region.faults_now())["delay"][0]["times"]:
            await asyncio.sleep(0.01)
    restart(here, PATIENT)
    await failed_and_intact(here, "between", where, "capacity_unavailable")
    await region.set_faults(capacity=[])
    await the_next_works(here, "between")


async def test_a_server_killed_while_the_machine_starts_goes_on_to_running(
    here: RunningServer, region: RunningRegion
) -> None:
    await resting(here, "onward")
    await region.set_faults(lose=[{"action": "StartInstances", "times": 1}], pending_secs=1.0)
    async with here.client() as client, asyncio.timeout(30):
        await client.resume_sandbox("onward")
        while (await region.faults_now())["lose"][0]["times"]:
            await asyncio.sleep(0.01)
    restart(here, PATIENT)
    async with here.client() as client:
        info = await client.wait_until("onward")
        assert (info.state, info.failure) == (State.RUNNING, None)
        await client.pause_sandbox("onward")
        await client.wait_until("onward")
    await the_next_works(here, "onward")


def restart(here: RunningServer, config: dict[str, Any]) -> None:
    """kill -9 and the next life, with this configuration."""
    here.kill()
    here.config = config
    here.start()
