"""terminate_on_delete = false: a user's own delete leaves the machine to them, and nothing else does."""

from dataclasses import replace

import pytest

from ciab.control.closing import close_down, intend_end
from ciab.control.policy import Policy
from ciab.core.machine import MachineState
from ciab.core.sandbox import Sandbox
from ciab.core.spec import Ec2Overrides
from ciab.core.states import State
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.world import SPEC, Cloud, World

S = State
RELEASES = Policy(terminate_on_delete=False)


def released(world: World, sandbox: Sandbox) -> bool:
    machine = world.machine(sandbox)
    left = machine.id in world.machines.released
    assert machine.state is (MachineState.STOPPED if left else MachineState.ENDED)
    assert not world.billable()
    return left


@pytest.mark.parametrize("verbs", [(), ("pause",), ("stop",)], ids=["running", "paused", "stopped"])
@pytest.mark.parametrize("stop_on_pause", [True, False])
async def test_a_users_delete_leaves_the_machine_stopped_and_discards_its_keys(
    verbs: tuple[str, ...], stop_on_pause: bool
) -> None:
    world = World(policy=replace(RELEASES, stop_on_pause=stop_on_pause), machines=Cloud(stopping=3))
    sandbox = await world.create()
    for verb in verbs:
        await world.ask(verb, sandbox)
    reply = await world.desk().delete(sandbox.id)
    assert (reply.state, reply.release) == (S.TERMINATING, True)
    ended = await world.go_on(sandbox)
    assert (ended.state, ended.failure) == (S.TERMINATED, None)
    assert released(world, ended)
    assert await world.database.keys.get(sandbox.id) is None
    assert not any(a.request.reveal() for a in await world.database.attempts.past(sandbox.id))
    assert (await world.desk().delete(sandbox.id)) == ended


async def test_with_the_switch_on_a_delete_terminates() -> None:
    world = World()
    assert not released(world, await world.delete(await world.create()))


async def test_what_never_ran_is_ended() -> None:
    world = World(policy=RELEASES, machines=Cloud(pending=10**6))
    async with world.process() as (sandboxes, supervisor):
        made = await sandboxes.create(SPEC, None)
        while not world.billable():
            await world.clock.sleep(0)
        assert not (await sandboxes.delete(made.id)).release
        await supervisor.rest()
    assert not world.billable()
    assert not world.machines.released


async def test_a_spot_machine_is_ended_for_it_cannot_be_stopped() -> None:
    world = World(policy=RELEASES)
    assert not released(
        world, await world.delete(await world.create(replace(SPEC, ec2=Ec2Overrides(spot=True))))
    )


@in_no_time
@pytest.mark.parametrize("why", ["idle", "lifetime", "end"])
async def test_what_nobody_deleted_is_ended(why: str) -> None:
    policy = replace(RELEASES, idle_timeout=30.0 if why == "idle" else 0.0, idle_action="terminate")
    world = World(policy=policy, clock=LoopClock())
    spec = replace(SPEC, timeout_secs=30.0) if why == "lifetime" else SPEC
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(spec, None)
        await world.clock.sleep(90)
        if why == "end":
            ports = world.ports()
            intended = await intend_end(ports, life.sandboxes)
            left = await close_down(
                ports, life.sandboxes, life.supervisor, world.reaper(), intended=intended, seconds=60
            )
            assert not left
    assert not released(world, await world.sandbox(sandbox.id))


async def test_a_machine_that_was_ended_meanwhile_is_nobodys() -> None:
    world = World(policy=RELEASES)
    sandbox = await world.create()
    await world.desk().delete(sandbox.id)
    world.machines.end(world.billable()[0], "Client.UserInitiatedShutdown")
    ended = await world.go_on(sandbox)
    assert ended.state is S.TERMINATED
    assert not released(world, ended)


async def test_a_released_machine_is_not_swept_and_its_sandbox_can_be_made_anew() -> None:
    world = World(policy=RELEASES)
    ended = await world.delete(await world.create())
    world.clock.now += 10**6
    assert not await world.reaper().collect(dry_run=False)
    assert world.machine(ended).state is MachineState.STOPPED
    again = await world.desk().recover(ended.id, None)
    assert (await world.go_on(again)).state is S.RUNNING
