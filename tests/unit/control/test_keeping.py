"""A server that ends and keeps its machines: they are told to wait, or named."""

from dataclasses import replace

import pytest

from ciab.control.closing import disarm
from ciab.control.policy import Policy
from ciab.core.spec import Persistence
from ciab.core.states import State
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.lines import Lines
from tests.unit.control.world import SITE, SPEC, World

SPEC_KEPT = replace(SPEC, persistence=Persistence.PERSISTENT)
FREEZES = Policy(orphan_timeout=7200.0, stop_on_pause=False)


@in_no_time
async def test_who_is_kept_is_told_to_wait_and_who_could_not_be_told_is_named() -> None:
    lines = Lines()
    world = World(clock=LoopClock(), policy=FREEZES, connections=lines)
    runs, frozen, silent, hangs_on, kept, stopped = [
        await world.create(spec) for spec in (SPEC, SPEC, SPEC, SPEC, SPEC_KEPT, SPEC)
    ]
    await world.ask("pause", frozen)
    await world.ask("stop", stopped)
    lines.out.add(silent.id)
    lines.hanging.add(hangs_on.id)
    began = world.clock.ticks()
    left = await disarm(world.ports())
    assert world.clock.ticks() - began == pytest.approx(10.0, abs=0.1)
    told = [one.id for one in (runs, frozen, kept, stopped) if lines.care(one.id).disarmed]
    assert told == [runs.id, frozen.id]
    assert sorted(one.what for one in left) == sorted(
        f"sandbox {one.name} ({one.id})" for one in (silent, hangs_on)
    )
    assert all("2.0 h" in one.why for one in left)


@in_no_time
async def test_who_is_being_moved_may_run_too_and_is_told_or_named() -> None:
    lines = Lines()
    world = World(clock=LoopClock(), policy=FREEZES, connections=lines)
    pausing, starting = [await world.create() for _ in range(2)]
    await world.ask("stop", starting)
    await world.desk().start(starting.id)
    await world.desk().pause(pausing.id)
    left = await disarm(world.ports())
    assert lines.care(pausing.id).disarmed
    assert [one.what for one in left] == [f"sandbox {starting.name} ({starting.id})"]
    assert "address" in left[0].why


@in_no_time
async def test_a_machine_without_a_switch_is_left_alone_and_one_that_has_one_never_is() -> None:
    world = World(clock=LoopClock(), policy=Policy())
    without = await world.create()
    world.policy = FREEZES
    armed = await world.create()
    world.policy = Policy()
    assert not await disarm(world.ports())
    assert world.connections.care(armed.id).disarmed
    assert not world.connections.care(without.id).disarmed


async def test_a_machine_that_is_only_being_made_is_named() -> None:
    world = World(policy=FREEZES)
    made = await world.desk().create(SPEC, None)
    await world.database.store.save(
        replace(made.to(State.CREATING), site=replace(SITE, orphan_timeout=7200.0))
    )
    (left,) = await disarm(world.ports())
    assert left.what == f"sandbox {made.name} ({made.id})"
