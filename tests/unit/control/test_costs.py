"""What sandboxes cost: from the launch to the end, over pauses and crashes, and never twice."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ciab.control.costs import Costs
from ciab.control.policy import Policy
from ciab.core.errors import CapacityUnavailable, RuntimeRejected
from ciab.core.ids import SandboxId
from ciab.core.ports import Ledger
from ciab.core.sandbox import Sandbox
from ciab.core.states import State
from ciab.testing.prices import FakePrices
from tests.unit.control.clocks import Clock
from tests.unit.control.peril import Killed, Peril, Side
from tests.unit.control.world import SPEC, Cloud, World

HOUR = 3600.0
YEAR = timedelta(days=365)


def paid(*, freezes: bool = False) -> World:
    """A dollar an hour, and a dime for the disk."""
    clock = Clock()
    return World(
        clock=clock,
        machines=Cloud(now=clock.wall),
        policy=Policy(stop_on_pause=not freezes),
        prices=FakePrices(1.0, disk=0.1),
    )


async def cost(world: World, sandbox: Sandbox) -> float | None:
    return (await Costs(world.ports()).of([await world.sandbox(sandbox.id)]))[sandbox.id].usd


async def test_a_life_costs_what_ran_and_what_was_kept_and_nothing_after_its_end() -> None:
    world = paid()
    sandbox = await world.create()
    world.clock.now += 2 * HOUR
    await world.ask("pause", sandbox)
    world.clock.now += 10 * HOUR
    await world.ask("resume", sandbox)
    world.clock.now += HOUR
    assert await cost(world, sandbox) == pytest.approx(4.0, abs=0.01)
    await world.delete(sandbox)
    world.clock.now += 5 * HOUR
    assert await cost(world, sandbox) == pytest.approx(4.0, abs=0.01)


async def test_a_frozen_sandbox_costs_what_a_running_one_does() -> None:
    world = paid(freezes=True)
    sandbox = await world.create()
    await world.ask("pause", sandbox)
    world.clock.now += 3 * HOUR
    assert await cost(world, sandbox) == pytest.approx(3.0, abs=0.01)


async def test_nothing_is_paid_before_the_launch_and_nothing_after_a_failure() -> None:
    world = paid()
    made = await world.desk().create(SPEC, None)
    world.clock.now += HOUR
    assert await cost(world, made) == 0.0
    world.connections.fail_next["connect"] = RuntimeRejected("another host key")
    failed = await world.go_on(made)
    assert failed.state is State.FAILED
    world.clock.now += HOUR
    assert await cost(world, made) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(("side", "dollars"), [("before", 0.0), ("after", 8.0)])
async def test_a_machine_whose_launch_was_the_last_thing_a_server_did_is_paid_for(
    side: Side, dollars: float
) -> None:
    world = paid()
    world.peril = Peril(0, side, lambda port: Killed() if port == "machines" else None)
    made = await world.create()
    assert world.peril.struck == "machines.launch"
    world.peril = None
    world.clock.now += 8 * HOUR
    assert (await world.go_on(made)).state is State.RUNNING
    assert await cost(world, made) == pytest.approx(dollars, abs=0.01)


async def test_a_resume_that_fails_goes_back_to_the_price_of_the_disk() -> None:
    world = paid()
    sandbox = await world.create()
    await world.ask("pause", sandbox)
    world.machines.fail_next["start"] = CapacityUnavailable("no t3.medium in us-east-1a")
    assert (await world.ask("resume", sandbox)).state is State.PAUSED
    world.clock.now += 10 * HOUR
    assert await cost(world, sandbox) == pytest.approx(1.0, abs=0.01)


async def test_a_clock_that_is_set_costs_nothing_while_the_server_runs() -> None:
    world = paid()
    async with world.process() as (sandboxes, supervisor):
        sandbox = await sandboxes.create(SPEC, None)
        await supervisor.rest()
        for jump in (YEAR, -2 * YEAR):
            world.clock.jump(jump)
            await sandboxes.pause(sandbox.id)
            await supervisor.rest()
            await sandboxes.resume(sandbox.id)
            await supervisor.rest()
        assert await cost(world, sandbox) == pytest.approx(0.0, abs=0.01)


async def test_a_machine_without_a_price_has_no_cost_and_says_so() -> None:
    world = paid()
    world.prices.usual = None
    sandbox = await world.create()
    world.clock.now += HOUR
    (one,) = (await Costs(world.ports()).report()).sandboxes
    assert (one.sandbox.id, one.usd, one.usd_hour) == (sandbox.id, None, None)


async def test_a_report_has_what_lives_the_day_and_the_workspaces() -> None:
    world = paid()
    ended = await world.create(replace(SPEC, workspace="shop"))
    world.clock.now += 2 * HOUR
    await world.delete(ended)
    lives = await world.create(replace(SPEC, workspace="shop"))
    alone = await world.create()
    world.clock.now += HOUR
    report = await Costs(world.ports()).report()
    assert {one.sandbox.id: one.usd for one in report.sandboxes} == {
        lives.id: pytest.approx(1.0, abs=0.01),
        alone.id: pytest.approx(1.0, abs=0.01),
    }
    assert report.workspaces == {"shop": pytest.approx(3.0, abs=0.01)}
    assert report.today_usd == pytest.approx(4.0, abs=0.01)
    world.clock.now += 10 * HOUR  # it began at noon: this is one o'clock of the next day
    assert (await Costs(world.ports()).report()).today_usd == pytest.approx(2.0, abs=0.02)


async def test_a_meter_that_is_closed_while_a_report_is_made_is_counted_once() -> None:
    world = paid()
    sandbox = await world.create(replace(SPEC, workspace="shop"))
    world.clock.now += 2 * HOUR
    ledger = Interrupted(world.database.ledger, lambda: world.ask("stop", sandbox))
    report = await Costs(replace(world.ports(), ledger=ledger)).report()
    assert (await world.sandbox(sandbox.id)).state is State.STOPPED
    assert report.workspaces == {"shop": pytest.approx(2.0, abs=0.01)}
    assert report.today_usd == pytest.approx(2.0, abs=0.01)


class Interrupted:
    """A ledger; something happens just after it was read for the first time."""

    def __init__(self, ledger: Ledger, happens: Callable[[], Awaitable[object]]) -> None:
        self._ledger = ledger
        self._happens: Callable[[], Awaitable[object]] | None = happens

    async def by_sandbox(self, sandbox_ids: Collection[SandboxId]) -> Mapping[SandboxId, float]:
        return await self._ledger.by_sandbox(sandbox_ids)

    async def between(self, start: datetime, end: datetime) -> float:
        return await self._ledger.between(start, end)

    async def by_workspace(self) -> Mapping[str, float]:
        before = await self._ledger.by_workspace()
        happens, self._happens = self._happens, None
        if happens:
            await happens()
        return before
