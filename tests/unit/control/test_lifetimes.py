"""Lifetimes: over in time, also over a server's absence, and not before, whatever the wall clock says."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ciab.control.policy import Policy
from ciab.core.errors import InvalidRequest
from ciab.core.sandbox import Sandbox
from ciab.core.states import State
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.world import SPEC, World

S = State
SHORT = replace(SPEC, timeout_secs=100.0)
YEAR = timedelta(days=365)
jumps = pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["forward", "back"])


def world_of(policy: Policy | None = None) -> World:
    return World(clock=LoopClock(), policy=policy or Policy())


async def state_after(world: World, sandbox: Sandbox, seconds: float) -> State:
    await world.clock.sleep(seconds)
    return (await world.sandbox(sandbox.id)).state


@in_no_time
async def test_a_lifetime_that_is_over_ends_a_sandbox_with_that_reason() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SHORT, None)
        forever = await life.sandboxes.create(SPEC, None)
        assert await state_after(world, sandbox, 95) is S.RUNNING
        assert await state_after(world, sandbox, 25) is S.TERMINATED
        assert await state_after(world, forever, 10_000) is S.RUNNING
    ended = await world.sandbox(sandbox.id)
    assert (ended.reason, ended.failure) == ("its lifetime of 100 s is over", None)


@in_no_time
@pytest.mark.parametrize("verb", ["pause", "stop"])
async def test_a_lifetime_goes_on_at_rest(verb: str) -> None:
    world = world_of()
    sandbox = await world.create(SHORT)
    await world.ask(verb, sandbox)
    async with world.watched():
        assert await state_after(world, sandbox, 80) is not S.TERMINATED
        assert await state_after(world, sandbox, 40) is S.TERMINATED
    assert not world.billable()


@in_no_time
async def test_the_longest_life_is_everybodys_and_nobody_gets_a_longer_one() -> None:
    world = world_of(Policy(max_lifetime=50))
    async with world.watched() as life:
        with pytest.raises(InvalidRequest, match="100") as refused:
            await life.sandboxes.create(SHORT, None)
        assert refused.value.hint
        assert not world.database.store.journal
        for spec in (SPEC, replace(SPEC, timeout_secs=0.0), replace(SPEC, timeout_secs=50.0)):
            sandbox = await life.sandboxes.create(spec, None)
            assert await state_after(world, sandbox, 45) is S.RUNNING
            assert await state_after(world, sandbox, 25) is S.TERMINATED


@in_no_time
async def test_a_lifetime_that_was_over_while_the_server_was_away_ends_at_once() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SHORT, None)
        assert await state_after(world, sandbox, 20) is S.RUNNING
    await world.clock.sleep(200)
    async with world.watched():
        assert await state_after(world, sandbox, 5) is S.TERMINATED


@in_no_time
@jumps
async def test_a_clock_that_is_set_during_a_life_neither_shortens_nor_prolongs_any(jump: timedelta) -> None:
    world = world_of(Policy(idle_timeout=1000))
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SHORT, None)
        await world.clock.sleep(40)
        world.clock.jump(jump)
        assert await state_after(world, sandbox, 50) is S.RUNNING
        assert await state_after(world, sandbox, 30) is S.TERMINATED


@in_no_time
@jumps
async def test_a_clock_that_was_set_in_the_last_life_means_nothing_in_the_next(jump: timedelta) -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SHORT, None)
        await world.clock.sleep(20)
        world.clock.jump(jump)
        await world.clock.sleep(20)
    async with world.watched():
        assert await state_after(world, sandbox, 40) is S.RUNNING
        assert await state_after(world, sandbox, 40) is S.TERMINATED


@in_no_time
async def test_between_two_lives_only_the_wall_clock_knows_what_has_passed() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SHORT, None)
        await world.clock.sleep(40)
    world.clock.jump(-YEAR)  # nothing has passed, as far as it tells
    async with world.watched():
        assert await state_after(world, sandbox, 40) is S.RUNNING
    world.clock.jump(2 * YEAR)
    async with world.watched():
        assert await state_after(world, sandbox, 5) is S.TERMINATED
