"""Idleness: what keeps a sandbox in use, and what is done with one that nobody and nothing uses."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ciab.control.activity import Activity
from ciab.control.policy import IdleAction, Policy
from ciab.core.guest import Command
from ciab.core.ids import SandboxId
from ciab.core.machine import MachineState
from ciab.core.sandbox import Held, Sandbox
from ciab.core.spec import Ec2Overrides
from ciab.core.states import State
from ciab.testing.store import MemoryStore
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.lines import Lines
from tests.unit.control.world import SPEC, World

S = State
IDLE = Policy(idle_timeout=60.0)
LATE = 30.0
"""Seconds from being idle to its action at most: a round of the watch comes every 15, and the first one
only sees that there is somebody."""


def world_of(policy: Policy = IDLE, lines: Lines | None = None) -> World:
    return World(clock=LoopClock(), policy=policy, connections=lines or Lines())


async def after(world: World, sandbox: Sandbox, seconds: float) -> Sandbox:
    await world.clock.sleep(seconds)
    return await world.sandbox(sandbox.id)


@in_no_time
@pytest.mark.parametrize("stop_on_pause", [True, False])
@pytest.mark.parametrize(
    ("action", "end"), [("pause", S.PAUSED), ("stop", S.STOPPED), ("terminate", S.TERMINATED)]
)
async def test_a_quiet_sandbox_gets_its_action_and_its_machine_never_runs_on(
    action: IdleAction, end: State, stop_on_pause: bool
) -> None:
    world = world_of(replace(IDLE, idle_action=action, stop_on_pause=stop_on_pause))
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        assert (await after(world, sandbox, 60)).state is S.RUNNING
        quiet = await after(world, sandbox, LATE)
    assert quiet.state is end
    assert quiet.reason
    assert quiet.reason.startswith("it was idle for 6")
    assert quiet.failure is None
    assert world.machine(quiet).state is (MachineState.ENDED if end is S.TERMINATED else MachineState.STOPPED)
    assert quiet.held is (Held.STOPPED if end is S.PAUSED else None)


@in_no_time
async def test_a_spot_machine_that_is_idle_ends_for_it_cannot_be_stopped() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(replace(SPEC, ec2=Ec2Overrides(spot=True)), None)
        assert (await after(world, sandbox, 60 + LATE)).state is S.TERMINATED


@in_no_time
async def test_an_open_visit_keeps_it_up_and_the_time_counts_from_its_end() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        await life.supervisor.rest()
        async with life.reach.visit(sandbox.id) as (_, connection):
            ran = await connection.guest.run(Command(("sleep", "500")), limit_bytes=1)
            assert ran.exit_code == 0
        assert (await after(world, sandbox, 55)).state is S.RUNNING
        assert (await after(world, sandbox, 5 + LATE)).state is S.PAUSED


@in_no_time
async def test_two_visits_keep_it_up_until_both_are_over() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        await life.supervisor.rest()
        async with life.reach.use(sandbox.id):
            async with life.reach.use(sandbox.id):
                pass
            assert (await after(world, sandbox, 500)).state is S.RUNNING


@in_no_time
async def test_a_short_command_now_and_then_keeps_it_up() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        await life.supervisor.rest()
        for _ in range(10):
            async with life.reach.visit(sandbox.id) as (_, connection):
                await connection.guest.run(Command(("true",)), limit_bytes=1)
            assert (await after(world, sandbox, 45)).state is S.RUNNING


@in_no_time
async def test_a_build_in_the_background_keeps_it_up_and_a_daemon_that_waits_does_not() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        care = world.connections.care(sandbox.id)
        care.cpu_seconds, care.over_seconds = 8.0, 12.0
        assert (await after(world, sandbox, 500)).state is S.RUNNING
        care.cpu_seconds = 0.05
        assert (await after(world, sandbox, 60 + 12 + LATE)).state is S.PAUSED


@in_no_time
async def test_a_machine_out_of_reach_is_not_idle_until_it_is_heard_again() -> None:
    lines = Lines()
    world = world_of(lines=lines)
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        await life.supervisor.rest()
        lines.cut = True
        assert (await after(world, sandbox, 600)).state is S.RUNNING
        lines.cut = False
        assert (await after(world, sandbox, 12 + LATE)).state is S.PAUSED


class Nudged(MemoryStore):
    """Does something whenever a sandbox is read."""

    nudge: Callable[[], None] | None = None

    async def get(self, sandbox_id: SandboxId) -> Sandbox:
        if self.nudge:
            self.nudge()
        return await super().get(sandbox_id)


@in_no_time
async def test_a_use_between_the_look_and_the_action_wins() -> None:
    world = world_of()
    database = world.database
    database.store = store = Nudged(database.events, database.ledger, world.clock.wall)
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        await life.supervisor.rest()

        def come_in() -> None:
            if life.activity.idle_for(sandbox.id) >= 60.0:
                life.activity.touch(sandbox.id)

        store.nudge = come_in
        assert (await after(world, sandbox, 100)).state is S.RUNNING
        store.nudge = None
        assert (await after(world, sandbox, 60 + LATE)).state is S.PAUSED


@in_no_time
async def test_the_specs_own_time_wins_and_none_is_none() -> None:
    world = world_of()
    async with world.watched() as life:
        never = await life.sandboxes.create(replace(SPEC, idle_timeout_secs=0.0), None)
        soon = await life.sandboxes.create(replace(SPEC, idle_timeout_secs=20.0), None)
        later = await life.sandboxes.create(replace(SPEC, idle_timeout_secs=200.0), None)
        assert (await after(world, soon, 20 + LATE)).state is S.PAUSED
        assert (await after(world, later, 100)).state is S.RUNNING
        assert (await after(world, later, 80 + LATE)).state is S.PAUSED
        assert (await after(world, never, 5000)).state is S.RUNNING


@in_no_time
async def test_a_spec_can_be_idle_where_the_configuration_knows_no_idleness() -> None:
    world = world_of(Policy())
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(replace(SPEC, idle_timeout_secs=60.0), None)
        assert (await after(world, sandbox, 60 + LATE)).state is S.PAUSED


@in_no_time
async def test_a_resume_is_a_use_and_so_is_a_restart_of_the_server() -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        assert (await after(world, sandbox, 500)).state is S.PAUSED
        await life.sandboxes.resume(sandbox.id)
        assert (await after(world, sandbox, 50)).state is S.RUNNING
    async with world.watched():
        assert (await after(world, sandbox, 50)).state is S.RUNNING
        assert (await after(world, sandbox, 10 + LATE)).state is S.PAUSED


@in_no_time
@pytest.mark.parametrize("days", [365, -365])
async def test_a_clock_that_is_set_idles_nothing(days: int) -> None:
    world = world_of()
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        await world.clock.sleep(30)
        world.clock.jump(timedelta(days=days))
        assert (await after(world, sandbox, 25)).state is S.RUNNING
        assert (await after(world, sandbox, 5 + LATE)).state is S.PAUSED


def test_an_activity_counts_from_the_first_question_and_forgets_what_does_not_run() -> None:
    now = 0.0
    activity = Activity(lambda: now)
    one = SandboxId("one")
    assert activity.idle_for(one) == 0.0
    now = 10.0
    assert activity.idle_for(one) == 10.0
    activity.touch(one)
    now = 12.0
    assert activity.idle_for(one) == 2.0
    activity.forget(one)
    assert activity.idle_for(one) == 0.0
    with activity.use(one):
        activity.forget(one)  # it is still open
        now = 100.0
        assert activity.idle_for(one) == 0.0
    now = 103.0
    assert activity.idle_for(one) == 3.0


@in_no_time
async def test_who_was_paused_and_resumed_between_two_looks_is_in_use_again() -> None:
    world = world_of(replace(IDLE, stop_on_pause=False))
    async with world.watched() as life:
        sandbox = await life.sandboxes.create(SPEC, None)
        await world.clock.sleep(62)
        for verb in (life.sandboxes.pause, life.sandboxes.resume):
            await verb(sandbox.id)
            await life.supervisor.rest()
        assert (await after(world, sandbox, 55)).state is S.RUNNING
        assert (await after(world, sandbox, LATE)).state is S.PAUSED
