"""Access to what does not run: refused with what to do, or resumed where the configuration says so."""

import asyncio

import pytest

from ciab.control.policy import Policy
from ciab.core.errors import CapacityUnavailable, InvalidState
from ciab.core.guest import Command
from ciab.core.sandbox import Sandbox
from ciab.core.states import State
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.lines import Lines
from tests.unit.control.world import SPEC, Cloud, World

S = State
pauses = pytest.mark.parametrize("stop_on_pause", [True, False], ids=["stopped", "frozen"])


async def runs(world: World, sandbox: Sandbox) -> None:
    """A command, in a life of the server."""
    async with world.process() as (sandboxes, _), world.reach(sandboxes).visit(sandbox.id) as (_, connection):
        assert (await connection.guest.run(Command(("true",)), limit_bytes=1)).exit_code == 0


@pauses
async def test_a_paused_sandbox_refuses_with_a_hint_until_it_is_resumed(stop_on_pause: bool) -> None:
    world = World(policy=Policy(stop_on_pause=stop_on_pause))
    paused = await world.ask("pause", await world.create())
    with pytest.raises(InvalidState, match="paused") as refused:
        await runs(world, paused)
    assert refused.value.hint == "resume it first"
    assert await world.sandbox(paused.id) == paused
    await world.ask("resume", paused)
    await runs(world, paused)


@pytest.mark.parametrize("verb", ["start", "stop", "pause", "resume", "delete"])
async def test_a_moving_sandbox_refuses_with_a_hint(verb: str) -> None:
    world = World()
    sandbox = await world.create()
    if verb in ("start", "resume"):
        await world.ask("stop" if verb == "start" else "pause", sandbox)
    moving = await getattr(world.desk(), verb)(sandbox.id)
    with pytest.raises(InvalidState, match=str(moving.state)) as refused:
        async with world.reach(world.desk()).visit(sandbox.id):
            pass
    assert refused.value.hint


@pauses
async def test_an_access_resumes_a_paused_sandbox_where_that_is_wanted(stop_on_pause: bool) -> None:
    world = World(policy=Policy(auto_resume=True, stop_on_pause=stop_on_pause))
    paused = await world.ask("pause", await world.create())
    await runs(world, paused)
    after = await world.sandbox(paused.id)
    assert (after.state, after.held) == (S.RUNNING, None)


async def test_an_access_does_not_start_what_its_user_stopped() -> None:
    world = World(policy=Policy(auto_resume=True))
    stopped = await world.ask("stop", await world.create())
    with pytest.raises(InvalidState, match="stopped") as refused:
        await runs(world, stopped)
    assert refused.value.hint == "start it first"
    assert await world.sandbox(stopped.id) == stopped


@in_no_time
async def test_accesses_during_a_pause_wait_for_it_and_resume_once() -> None:
    world = World(
        policy=Policy(auto_resume=True), clock=LoopClock(), machines=Cloud(stopping=20), connections=Lines()
    )
    sandbox = await world.create()
    async with world.process() as (sandboxes, _):
        reach = world.reach(sandboxes)

        async def state() -> State:
            async with reach.use(sandbox.id) as used:
                return used.state

        await sandboxes.pause(sandbox.id)
        assert await asyncio.gather(*(state() for _ in range(5))) == [S.RUNNING] * 5
    assert world.connections.care(sandbox.id).boot == "boot-2"
    assert world.machines.launched(sandbox.id) == 1


async def test_an_access_whose_resume_fails_says_so_and_leaves_it_paused() -> None:
    world = World(policy=Policy(auto_resume=True))
    paused = await world.ask("pause", await world.create())
    world.machines.fail_next["start"] = CapacityUnavailable("no capacity in us-east-1a")
    with pytest.raises(InvalidState, match="no capacity in us-east-1a"):
        await runs(world, paused)
    after = await world.sandbox(paused.id)
    assert after.state is S.PAUSED
    assert (await world.create(SPEC)).state is S.RUNNING
    await runs(world, paused)
