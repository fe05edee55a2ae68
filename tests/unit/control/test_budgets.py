"""Budgets: a warning in time, then exactly those concerned are stopped, and nothing more runs on them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ciab.control.costs import Costs
from ciab.control.policy import Budgets, Policy
from ciab.core.errors import BudgetExceeded
from ciab.core.journal import Noted
from ciab.core.machine import MachineState
from ciab.core.sandbox import Sandbox
from ciab.core.spec import Ec2Overrides, Spec
from ciab.core.states import State
from ciab.testing.prices import FakePrices
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.world import SPEC, Cloud, World

S = State
HOUR = 3600.0
SHOP, LAB = replace(SPEC, workspace="shop"), replace(SPEC, workspace="lab")


def world_of(budgets: Budgets, policy: Policy | None = None) -> World:
    """A dollar an hour, a dime for the disk."""
    clock = LoopClock()
    return World(
        clock=clock,
        machines=Cloud(now=clock.wall),
        policy=replace(policy or Policy(), budgets=budgets),
        prices=FakePrices(1.0, disk=0.1),
    )


def warnings(world: World, sandbox: Sandbox) -> list[Noted]:
    entries = world.database.store.journal[sandbox.id]
    return [entry for entry in entries if isinstance(entry, Noted) and entry.action.startswith("budget")]


async def states(world: World, *sandboxes: Sandbox) -> list[State]:
    return [(await world.sandbox(one.id)).state for one in sandboxes]


@in_no_time
async def test_a_sandbox_is_warned_once_and_stopped_when_its_budget_is_used_up() -> None:
    world = world_of(Budgets(per_sandbox=1.0))
    async with world.watched() as life:
        old = await life.sandboxes.create(SPEC, None)
        await world.clock.sleep(0.5 * HOUR)
        young = await life.sandboxes.create(SPEC, None)
        await world.clock.sleep(0.25 * HOUR)
        assert not warnings(world, old)
        await world.clock.sleep(0.2 * HOUR)
        (warning,) = warnings(world, old)
        assert (warning.action, warning.shown) == ("budget_warning", True)
        assert "of $1.00" in warning.message
        assert await states(world, old, young) == [S.RUNNING, S.RUNNING]
        await world.clock.sleep(0.1 * HOUR)
        assert await states(world, old, young) == [S.PAUSED, S.RUNNING]
    assert [one.action for one in warnings(world, old)] == ["budget_warning", "budget_exceeded"]
    assert not warnings(world, young)
    assert world.machine(await world.sandbox(old.id)).state is MachineState.STOPPED
    reason = (await world.sandbox(old.id)).reason
    assert reason
    assert f"per_sandbox of {old.name}" in reason


@in_no_time
@pytest.mark.parametrize(("rest", "back"), [("pause", "resume"), ("stop", "start")])
async def test_what_has_used_its_budget_up_does_not_come_back_but_can_be_deleted(
    rest: str, back: str
) -> None:
    world = world_of(Budgets(per_sandbox=1.0))
    sandbox = await world.create()
    await world.clock.sleep(2 * HOUR)
    before = await world.ask(rest, sandbox)
    async with world.watched() as life:
        with pytest.raises(BudgetExceeded, match="per_sandbox") as refused:
            await getattr(life.sandboxes, back)(sandbox.id)
        assert refused.value.hint
        await world.clock.sleep(60)
        assert await states(world, sandbox) == [before.state]
        assert (await life.sandboxes.create(SPEC, None)).state is S.PENDING  # another has its own
        await life.sandboxes.delete(sandbox.id)
        await life.supervisor.rest()
    assert await states(world, sandbox) == [S.TERMINATED]


@in_no_time
async def test_an_access_does_not_resume_what_has_used_its_budget_up() -> None:
    world = world_of(Budgets(per_sandbox=1.0), Policy(auto_resume=True))
    sandbox = await world.create()
    await world.clock.sleep(2 * HOUR)
    await world.ask("pause", sandbox)
    async with world.watched() as life:
        with pytest.raises(BudgetExceeded):
            async with life.reach.visit(sandbox.id):
                pass
    assert await states(world, sandbox) == [S.PAUSED]


@in_no_time
async def test_a_workspaces_budget_is_for_all_of_it_and_for_nobody_else() -> None:
    world = world_of(Budgets(per_workspace=3.0))
    async with world.watched() as life:
        gone = await life.sandboxes.create(SHOP, None)
        await world.clock.sleep(HOUR)
        await life.sandboxes.delete(gone.id)
        mine = [await life.sandboxes.create(SHOP, None) for _ in range(2)]
        others = [await life.sandboxes.create(spec, None) for spec in (LAB, SPEC)]
        await world.clock.sleep(0.9 * HOUR)
        assert await states(world, *mine) == [S.RUNNING] * 2
        assert [len(warnings(world, one)) for one in (*mine, *others)] == [1, 1, 0, 0]
        await world.clock.sleep(0.2 * HOUR)
        assert await states(world, *mine) == [S.PAUSED] * 2
        assert await states(world, *others) == [S.RUNNING] * 2
        journals = len(world.database.store.journal)
        with pytest.raises(BudgetExceeded, match="per_workspace of shop"):
            await life.sandboxes.create(SHOP, None)
        with pytest.raises(BudgetExceeded, match="per_workspace of shop"):
            await life.sandboxes.resume(mine[0].id)
        assert len(world.database.store.journal) == journals
        assert (await life.sandboxes.create(LAB, None)).state is S.PENDING


@in_no_time
async def test_a_days_budget_is_for_everybody_until_midnight_and_is_warned_of_every_day() -> None:
    world = world_of(Budgets(per_day=2.0))
    async with world.watched() as life:  # it is noon
        both = [await life.sandboxes.create(spec, None) for spec in (SHOP, SPEC)]
        await world.clock.sleep(1.1 * HOUR)
        assert await states(world, *both) == [S.PAUSED] * 2
        with pytest.raises(BudgetExceeded, match="per_day") as refused:
            await life.sandboxes.create(SPEC, None)
        assert "next day" in str(refused.value.hint)
        await world.clock.sleep(11 * HOUR)  # ten past midnight
        await life.sandboxes.resume(both[0].id)
        await world.clock.sleep(1.6 * HOUR)
        assert await states(world, both[0]) == [S.RUNNING]
        told = [one.action for one in warnings(world, both[0])]
        assert told == ["budget_warning", "budget_exceeded", "budget_warning"]


@in_no_time
async def test_who_comes_late_to_a_strained_budget_is_warned_too() -> None:
    world = world_of(Budgets(per_day=2.0))
    async with world.watched() as life:
        await life.sandboxes.create(SPEC, None)
        await world.clock.sleep(1.7 * HOUR)
        late = await life.sandboxes.create(SPEC, None)
        await world.clock.sleep(60)
        assert [one.action for one in warnings(world, late)] == ["budget_warning"]


@in_no_time
async def test_a_budget_that_was_used_up_unseen_says_so_at_once() -> None:
    world = world_of(Budgets(per_sandbox=1.0))
    sandbox = await world.create()
    await world.clock.sleep(5 * HOUR)
    async with world.watched():
        await world.clock.sleep(60)
    assert [one.action for one in warnings(world, sandbox)] == ["budget_exceeded"]
    assert await states(world, sandbox) == [S.PAUSED]


@in_no_time
async def test_on_a_used_up_budget_a_frozen_one_is_stopped_and_a_spot_machine_ended() -> None:
    world = world_of(Budgets(per_sandbox=1.0), Policy(stop_on_pause=False))
    frozen = await world.ask("pause", await world.create())
    spot = await world.create(replace(SPEC, ec2=Ec2Overrides(spot=True)))
    runs = await world.create()
    rests = await world.ask("stop", await world.create())
    await world.clock.sleep(1.1 * HOUR)
    async with world.watched() as life:
        await world.clock.sleep(1)
        await life.supervisor.rest()
    assert await states(world, frozen, spot, runs, rests) == [S.STOPPED, S.TERMINATED, S.PAUSED, S.STOPPED]
    running = [machine for machine in world.machines.alive() if machine.state is MachineState.RUNNING]
    assert not running


@in_no_time
async def test_what_comes_up_on_a_used_up_budget_is_stopped_then() -> None:
    world = world_of(Budgets(per_day=1.0))
    early = await world.desk().create(SPEC, None)
    await world.create()
    await world.clock.sleep(2 * HOUR)
    async with world.watched() as life:
        await world.clock.sleep(60)
        await life.supervisor.rest()
    assert await states(world, early) == [S.PAUSED]


@in_no_time
async def test_without_a_price_there_is_no_budget_to_keep() -> None:
    world = world_of(Budgets(per_sandbox=1.0))
    world.prices.by_type = {"x9.huge": 7.0}
    world.prices.usual = None
    with pytest.raises(BudgetExceeded, match="no price") as refused:
        await world.desk().create(SPEC, None)
    assert "runtime.ec2.prices" in str(refused.value.hint)
    assert not world.database.store.journal
    huge = Spec("command", ec2=Ec2Overrides(instance_type="x9.huge"))
    assert (await world.create(huge)).state is S.RUNNING
    world.policy = Policy()
    assert (await world.create()).state is S.RUNNING


@in_no_time
async def test_a_clock_that_is_set_uses_no_budget_up() -> None:
    world = world_of(Budgets(per_sandbox=1.0, per_workspace=1.0, per_day=1.0))
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SHOP, None)
        for days in (365, -730):
            world.clock.jump(timedelta(days=days))
            await world.clock.sleep(60)
        assert await states(world, sandbox) == [S.RUNNING]
        assert not warnings(world, sandbox)


@in_no_time
async def test_what_runs_since_before_there_were_meters_or_prices_is_counted_from_the_first_look() -> None:
    world = world_of(Budgets())
    world.prices.usual = None
    unpriced = await world.create()
    old = await world.create()
    old = await world.database.store.save(replace(old, meter=None))
    world.policy, world.prices.usual = Policy(budgets=Budgets(per_sandbox=1.0)), 1.0
    async with world.watched():
        await world.clock.sleep(0.9 * HOUR)
        assert await states(world, old, unpriced) == [S.RUNNING, S.RUNNING]
        await world.clock.sleep(0.2 * HOUR)
        assert await states(world, old, unpriced) == [S.PAUSED, S.PAUSED]


@in_no_time
async def test_another_price_counts_from_the_next_start_of_the_server() -> None:
    world = world_of(Budgets())
    running, stopped = await world.create(), await world.create()
    await world.ask("stop", stopped)
    await world.clock.sleep(HOUR)
    world.prices.usual, world.prices.disk = 3.0, 0.3
    async with world.watched():
        await world.clock.sleep(HOUR)
        costs = await Costs(world.ports()).of([await world.sandbox(one.id) for one in (running, stopped)])
    assert costs[running.id].usd == pytest.approx(4.0, abs=0.01)
    assert costs[stopped.id].usd == pytest.approx(0.4, abs=0.01)
