"""Making anew what has ended: the same spec, a trace of where it came from, and once however often asked."""

from dataclasses import replace

import pytest

from ciab.control.policy import Budgets, Policy
from ciab.core.errors import BudgetExceeded, Conflict, InvalidState, RuntimeRejected, SandboxNotFound
from ciab.core.ports import Once
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.states import State
from ciab.testing.prices import FakePrices
from tests.unit.control.world import SPEC, World

RICH = replace(SPEC, labels={"team": "shop"}, env_vars={"TOKEN": Secret("s3cret")}, workspace="shop")


async def lost(world: World, *, failed: bool = False) -> Sandbox:
    if failed:
        world.machines.fail_next["launch"] = RuntimeRejected("no")
        return await world.create(RICH)
    return await world.delete(await world.create(RICH))


@pytest.mark.parametrize("failed", [False, True], ids=["terminated", "failed"])
async def test_a_new_sandbox_comes_from_the_same_spec_under_the_same_name(failed: bool) -> None:
    world = World()
    before = await lost(world, failed=failed)
    async with world.process() as (sandboxes, supervisor):
        made = await sandboxes.recover(before.name, None)
        await supervisor.rest()
    after = await world.sandbox(made.id)
    assert (after.state, after.spec, after.name) == (State.RUNNING, before.spec, before.name)
    assert after.recovered_from == before.id != after.id
    assert await world.sandbox(before.id) == before


async def test_a_name_that_is_taken_gives_way_to_another() -> None:
    world = World()
    before = await lost(world)
    taken = await world.desk().create(SPEC, before.name)
    made = await world.desk().recover(before.id, None)
    assert made.name not in (before.name, "")
    assert made.recovered_from == before.id
    with pytest.raises(Conflict, match=before.name):
        await world.desk().recover(before.id, taken.name)
    assert (await world.desk().recover(before.id, "another")).name == "another"


@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
async def test_a_repeated_request_makes_one(taken: bool) -> None:
    world = World()
    before = await lost(world)
    if taken:
        await world.desk().create(SPEC, before.name)
    once = Once("key", "digest")
    made = await world.desk().recover(before.id, None, once)
    assert await world.desk().recover(before.id, None, once) == made
    assert (made.name == before.name) is not taken
    with pytest.raises(Conflict, match="key"):
        await world.desk().recover(before.id, None, Once("key", "another"))


async def test_what_lives_cannot_be_made_anew_not_even_by_the_name_of_what_ended() -> None:
    world = World()
    before = await lost(world)
    await world.desk().create(SPEC, before.name)
    with pytest.raises(InvalidState, match="pending") as refused:
        await world.desk().recover(before.name, None)
    assert refused.value.hint
    with pytest.raises(SandboxNotFound):
        await world.desk().recover("nobody", None)


async def test_a_budget_is_for_recovered_ones_too() -> None:
    world = World(policy=Policy(budgets=Budgets(per_workspace=1.0)), prices=FakePrices(1.0))
    sandbox = await world.create(RICH)
    world.clock.now += 2 * 3600
    await world.delete(sandbox)
    with pytest.raises(BudgetExceeded, match="shop"):
        await world.desk().recover(sandbox.id, None)
