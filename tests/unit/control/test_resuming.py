"""Moves that fail: back to where it was, with the reason, the disk intact; and the next one works."""

import pytest

from ciab.control.policy import Policy
from ciab.core.errors import CapacityUnavailable, GuestFault
from ciab.core.machine import Cause, MachineState
from ciab.core.sandbox import Held, Sandbox
from ciab.core.states import State
from tests.unit.control.clocks import Clock, LoopClock, in_no_time
from tests.unit.control.lines import Lines
from tests.unit.control.world import SPEC, Cloud, World

S = State
FREEZES = Policy(stop_on_pause=False)
NO_CAPACITY = CapacityUnavailable("no t3.medium in us-east-1a")


def lined(policy: Policy = FREEZES, *, stopping: int = 0, clock: type[Clock] = Clock) -> tuple[World, Lines]:
    lines = Lines()
    world = World(connections=lines, policy=policy, machines=Cloud(stopping=stopping), clock=clock())
    return world, lines


def failure(sandbox: Sandbox) -> tuple[str | None, str] | None:
    return (sandbox.failure.step, sandbox.failure.code) if sandbox.failure else None


@pytest.mark.parametrize(("rest", "back"), [("pause", "resume"), ("stop", "start")])
async def test_a_resume_without_capacity_leads_back_and_the_next_one_works(rest: str, back: str) -> None:
    world = World()
    before = await world.ask(rest, await world.create())
    world.machines.fail_next["start"] = NO_CAPACITY
    failed = await world.ask(back, before)
    assert (failed.state, failed.held) == (before.state, before.held)
    assert failure(failed) == ("start_machine", "capacity_unavailable")
    assert world.machine(failed).state is MachineState.STOPPED
    resumed = await world.ask(back, failed)
    assert (resumed.state, resumed.failure) == (S.RUNNING, None)
    assert world.machines.launched(resumed.id) == 1


@pytest.mark.parametrize(("rest", "back"), [("pause", "resume"), ("stop", "start")])
async def test_a_machine_that_never_answers_is_stopped_again_and_not_ended(rest: str, back: str) -> None:
    world, lines = lined(Policy())
    before = await world.ask(rest, await world.create())
    lines.cut = True
    failed = await world.ask(back, before)
    assert (failed.state, failed.held) == (before.state, before.held)
    assert failure(failed) == ("start_machine", "guest_unreachable")
    assert world.machine(failed).state is MachineState.STOPPED
    assert world.clock.now >= world.limits.login
    lines.cut = False
    assert (await world.ask(back, failed)).state is S.RUNNING
    assert world.machines.launched(failed.id) == 1


async def test_a_thaw_out_of_reach_leaves_it_frozen_and_the_next_one_works() -> None:
    world, lines = lined()
    paused = await world.ask("pause", await world.create())
    lines.cut = True
    failed = await world.ask("resume", paused)
    assert (failed.state, failed.held) == (S.PAUSED, Held.FROZEN)
    assert failure(failed) == ("thaw", "guest_unreachable")
    assert world.machine(failed).state is MachineState.RUNNING
    assert lines.care(paused.id).frozen
    lines.cut = False
    resumed = await world.ask("resume", failed)
    assert (resumed.state, resumed.failure) == (S.RUNNING, None)
    assert not lines.care(paused.id).frozen


async def test_what_was_frozen_and_then_stopped_by_somebody_else_is_booted_or_stopped_again() -> None:
    world, lines = lined()
    paused = await world.ask("pause", await world.create())
    world.machines.stopped_by_hand(world.machine(paused).id)
    lines.cut = True
    failed = await world.ask("resume", paused)
    assert (failed.state, failed.held) == (S.PAUSED, Held.STOPPED)
    assert failure(failed) == ("start_machine", "guest_unreachable")
    assert world.machine(failed).state is MachineState.STOPPED
    lines.cut = False
    assert (await world.ask("resume", failed)).state is S.RUNNING


async def test_a_freeze_that_is_refused_leaves_it_running_and_nothing_standing_still() -> None:
    world, lines = lined()
    sandbox = await world.create()
    care = lines.care(sandbox.id)
    care.frozen = True  # some processes were stopped before one could not be
    care.fail_next["freeze"] = GuestFault("out of reach were 17")
    running = await world.ask("pause", sandbox)
    assert (running.state, running.held) == (S.RUNNING, None)
    assert failure(running) == ("freeze", "ssh_error")
    assert not care.frozen
    assert (await world.ask("pause", running)).failure is None


@in_no_time
async def test_a_freeze_out_of_reach_is_tried_until_it_is_not() -> None:
    world, lines = lined(clock=LoopClock)
    sandbox = await world.create()
    lines.cut = True
    async with world.process() as (sandboxes, supervisor):
        await sandboxes.pause(sandbox.id)
        await world.clock.sleep(1000)
        assert (await world.sandbox(sandbox.id)).state is S.PAUSING
        lines.cut = False
        await supervisor.rest()
    paused = await world.sandbox(sandbox.id)
    assert (paused.state, paused.held, paused.failure) == (S.PAUSED, Held.FROZEN, None)
    assert lines.care(sandbox.id).frozen


async def test_a_machine_that_was_stopped_before_it_could_be_frozen_is_paused_so() -> None:
    world, lines = lined(stopping=3)
    sandbox = await world.create()
    world.machines.stopped_by_hand(world.machine(sandbox).id, Cause.ITSELF)
    lines.cut = True
    paused = await world.ask("pause", sandbox)
    assert (paused.state, paused.held, paused.failure) == (S.PAUSED, Held.STOPPED, None)
    lines.cut = False
    assert (await world.ask("resume", paused)).state is S.RUNNING


MOVES = [
    ("pause", (), Policy()),
    ("pause", (), FREEZES),
    ("pause", (), Policy(hibernate_on_pause=True)),
    ("stop", (), Policy()),
    ("resume", ("pause",), Policy()),
    ("resume", ("pause",), FREEZES),
    ("start", ("stop",), Policy()),
]
NAMES = ["pause", "freeze", "hibernate", "stop", "resume", "thaw", "start"]


@pytest.mark.parametrize(("verb", "before", "policy"), MOVES, ids=NAMES)
@pytest.mark.parametrize(
    ("cause", "code"),
    [(Cause.ASKED, "machine_ended"), (Cause.SPOT, "spot_interrupted"), (Cause.ITSELF, "machine_ended")],
)
async def test_a_machine_that_ended_meanwhile_is_a_failure_that_says_so(
    verb: str, before: tuple[str, ...], policy: Policy, cause: Cause, code: str
) -> None:
    world, lines = lined(policy)
    sandbox = await world.create()
    for done in before:
        await world.ask(done, sandbox)
    await getattr(world.desk(), verb)(sandbox.id)
    world.machines.end(world.machine(sandbox).id, "Client.Told: because", cause)
    lines.cut = True
    failed = await world.go_on(sandbox)
    assert failed.state is S.FAILED
    assert failed.failure
    assert failed.failure.code == code
    assert "because" in failed.failure.message
    assert failed.failure.hint
    assert await world.database.keys.get(sandbox.id) is None


async def test_a_machine_that_ended_while_it_was_put_to_rest_for_idleness_is_a_failure_too() -> None:
    world = World()
    sandbox = await world.create()
    desk = world.desk()
    await desk.intend(sandbox.id, lambda one: desk.paused(one, reason="it was idle for 60 s"))
    world.machines.end(world.machine(sandbox).id, "Server.SpotInstanceTermination", Cause.SPOT)
    failed = await world.go_on(sandbox)
    assert failed.state is S.FAILED
    assert failure(failed) == ("stop_machine", "spot_interrupted")
    assert failed.reason is None


async def test_a_users_delete_of_what_was_being_put_to_rest_has_no_reason_but_their_own() -> None:
    world = World()
    sandbox = await world.create()
    desk = world.desk()
    await desk.intend(sandbox.id, lambda one: desk.paused(one, reason="it was idle for 60 s"))
    ended = await world.delete(sandbox)
    assert (ended.state, ended.reason, ended.failure) == (S.TERMINATED, None, None)


NEVER = 10**9


@pytest.mark.parametrize(
    ("verb", "before", "policy", "stopping"),
    [
        ("pause", (), FREEZES, 0),
        ("pause", (), Policy(), NEVER),
        ("stop", (), Policy(), NEVER),
        ("resume", ("pause",), FREEZES, 0),
        ("resume", ("pause",), Policy(), 0),
    ],
    ids=["freeze", "pause", "stop", "thaw", "resume"],
)
@in_no_time
async def test_a_delete_wins_over_a_move_that_waits(
    verb: str, before: tuple[str, ...], policy: Policy, stopping: int
) -> None:
    world, lines = lined(policy, stopping=stopping, clock=LoopClock)
    sandbox = await world.create()
    for done in before:
        await world.ask(done, sandbox)
    lines.cut = True
    async with world.process() as (sandboxes, supervisor):
        moving = await getattr(sandboxes, verb)(sandbox.id)
        await world.clock.sleep(10)
        assert (await world.sandbox(sandbox.id)).state is moving.state
        began = world.clock.ticks()
        await sandboxes.delete(sandbox.id)
        await supervisor.rest()
    ended = await world.sandbox(sandbox.id)
    assert (ended.state, ended.failure) == (S.TERMINATED, None)
    assert not world.billable()
    assert world.clock.ticks() - began < 1


async def test_nothing_moves_a_sandbox_that_is_ending() -> None:
    world = World()
    sandbox = await world.create()
    desk = world.desk()
    await desk.pause(sandbox.id)
    await desk.delete(sandbox.id)
    assert (await world.go_on(sandbox)).state is S.TERMINATED
    assert world.machines.launched(sandbox.id) == 1
    assert (await world.create(SPEC)).state is S.RUNNING
