"""The heartbeat: who gets it, how often, and what is made of what it brings back."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from ciab.control.policy import Policy
from ciab.control.pulses import GRACE_COMMAND_SECS
from ciab.control.reach import target_of
from ciab.core.errors import RuntimeRejected
from ciab.core.guest import Command
from ciab.core.journal import Noted
from ciab.core.machine import Machine, Place
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Ec2Overrides, Persistence, Spec
from ciab.core.states import State
from ciab.testing.guest import Call
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.lines import Lines
from tests.unit.control.world import SITE, SPEC, Cloud, World

S = State
KEPT = replace(SPEC, persistence=Persistence.PERSISTENT)
SPOT = replace(
    SPEC,
    ec2=Ec2Overrides(spot=True, spot_grace_command=("save", "all")),
    env_vars={"BUCKET": Secret("shop-backup")},
)
ORPHANS = Policy(orphan_timeout=100.0)
EVERY = 20.0
"""Seconds between two pulses under that policy."""


def world_of(policy: Policy = ORPHANS, lines: Lines | None = None) -> World:
    return World(clock=LoopClock(), policy=policy, connections=lines or Lines())


def notes(world: World, sandbox: Sandbox, action: str) -> list[Noted]:
    entries = world.database.store.journal[sandbox.id]
    return [entry for entry in entries if isinstance(entry, Noted) and entry.action == action]


@pytest.mark.parametrize(
    ("policy", "spec", "seconds"),
    [
        (Policy(), SPEC, 0.0),
        (Policy(orphan_timeout=100.0), SPEC, 20.0),
        (Policy(orphan_timeout=100.0), KEPT, 0.0),
        (Policy(orphan_timeout=86400.0), SPEC, 300.0),
        (Policy(orphan_timeout=2.0), SPEC, 1.0),
        (Policy(idle_timeout=60.0), KEPT, 12.0),
        (Policy(idle_timeout=3600.0), KEPT, 30.0),
        (Policy(idle_timeout=60.0, orphan_timeout=40.0), SPEC, 8.0),
        (Policy(idle_timeout=60.0), replace(KEPT, idle_timeout_secs=0.0), 0.0),
        (Policy(), replace(KEPT, idle_timeout_secs=20.0), 4.0),
        (Policy(), SPOT, 5.0),
        (Policy(idle_timeout=10.0), SPOT, 2.0),
    ],
)
async def test_a_pulse_comes_as_often_as_spec_and_policy_need_it(
    policy: Policy, spec: Spec, seconds: float
) -> None:
    world = World(policy=policy)
    sandbox = await world.create(spec)
    async with world.process() as (sandboxes, supervisor):
        _, pulses = world.watch(sandboxes, supervisor)
        assert pulses.interval(sandbox) == seconds


@pytest.mark.parametrize("later", [0.0, 86400.0])
async def test_a_machine_with_a_switch_feels_us_as_it_needs_whatever_is_configured_later(
    later: float,
) -> None:
    world = World(policy=ORPHANS)
    sandbox = await world.create()
    world.policy = Policy(orphan_timeout=later)
    async with world.process() as (sandboxes, supervisor):
        _, pulses = world.watch(sandboxes, supervisor)
        assert pulses.interval(sandbox) == EVERY


@in_no_time
@pytest.mark.parametrize(
    ("verb", "policy", "beats"),
    [
        (None, ORPHANS, True),
        ("pause", replace(ORPHANS, stop_on_pause=False), True),
        ("pause", ORPHANS, False),
        ("stop", ORPHANS, False),
    ],
    ids=["running", "frozen", "paused", "stopped"],
)
async def test_machines_that_run_feel_it_and_others_do_not(
    verb: str | None, policy: Policy, beats: bool
) -> None:
    world = world_of(policy)
    sandbox = await world.create()
    if verb:
        await world.ask(verb, sandbox)
    async with world.watched():
        await world.clock.sleep(10 * EVERY + 1)
    assert world.connections.care(sandbox.id).beats in (range(10, 12) if beats else (0,))


@in_no_time
async def test_a_machine_whose_scripts_take_long_is_kept_alive_meanwhile() -> None:
    async def long(call: Call) -> int:
        await call.all_stdin()
        await asyncio.sleep(10 * EVERY)
        return 0

    world = world_of(lines=Lines(bash=long))
    async with world.watched() as life:
        made = await life.sandboxes.create(replace(SPEC, provisioning_scripts=("make",)), None)
        await world.clock.sleep(9 * EVERY)
        assert (await world.sandbox(made.id)).state is S.CREATING
        assert world.connections.care(made.id).beats >= 7
        await life.supervisor.rest()
    assert (await world.sandbox(made.id)).state is S.RUNNING


@in_no_time
@pytest.mark.parametrize("verb", ["pause", "stop"])
async def test_a_machine_that_the_provider_does_not_stop_is_kept_alive_meanwhile(verb: str) -> None:
    class Stubborn(Cloud):
        async def stop(self, machine: Machine, *, hibernate: bool = False) -> None:
            raise RuntimeRejected("UnauthorizedOperation: StopInstances")

    world = World(clock=LoopClock(), policy=ORPHANS, machines=Stubborn())
    sandbox = await world.create()
    async with world.watched() as life:
        await getattr(life.sandboxes, verb)(sandbox.id)
        await world.clock.sleep(10 * EVERY)
    assert world.connections.care(sandbox.id).beats >= 9


@in_no_time
async def test_a_machine_out_of_reach_changes_nothing_and_holds_up_nobody() -> None:
    lines = Lines()
    world = world_of(lines=lines)
    silent, hanging, fine = [await world.create() for _ in range(3)]
    lines.out.add(silent.id)
    lines.hanging.add(hanging.id)
    async with world.watched():
        await world.clock.sleep(10 * EVERY + 1)
        assert lines.care(fine.id).beats >= 10
        lines.out.clear()
        lines.hanging.clear()
        await world.clock.sleep(2 * EVERY + 1)
    for one in (silent, hanging):
        assert await world.sandbox(one.id) == one
        assert lines.care(one.id).beats >= 1


@in_no_time
async def test_a_crowd_out_of_reach_does_not_let_the_others_end_themselves() -> None:
    lines = Lines()
    world = world_of(lines=lines)
    fine = await world.create()
    crowd = [await world.create() for _ in range(100)]
    lines.hanging.update(one.id for one in crowd)
    async with world.watched():
        await world.clock.sleep(10 * EVERY)  # the first time all of them are tried
        before = lines.care(fine.id).beats
        await world.clock.sleep(20 * EVERY)
        assert lines.care(fine.id).beats - before >= 18
        lines.hanging.clear()
        await world.clock.sleep(10 * EVERY)
    assert all(lines.care(one.id).beats for one in crowd)


async def saves(call: Call) -> int:
    return 3


async def hangs(call: Call) -> int:
    await asyncio.Event().wait()
    return 0


async def announced(world: World, spec: Spec, seconds: float, place: Place | None = None) -> Sandbox:
    """A sandbox whose machine is told that the provider takes it back, and a minute of looking after it."""
    if place:
        world.place = replace(SITE, place=place)
    sandbox = await world.create(spec)
    at = world.clock.wall() + timedelta(seconds=seconds)
    world.connections.care(sandbox.id).interruption = at.isoformat().replace("+00:00", "Z")
    async with world.watched():
        await world.clock.sleep(60)
    return await world.sandbox(sandbox.id)


async def commands(world: World, sandbox: Sandbox) -> Sequence[Command]:
    connection = await world.connections.connect(await target_of(sandbox, world.ports()))
    return [one for one in connection.guest.ran if one.argv == ("save", "all")]


@in_no_time
@pytest.mark.parametrize(
    ("seconds", "limit"), [(60.0, 55.0), (1e6, GRACE_COMMAND_SECS), (-60.0, 5.0), (8.0, 5.0)]
)
async def test_an_announced_end_is_one_event_and_one_last_command(seconds: float, limit: float) -> None:
    world = world_of(Policy(), Lines(save=saves))
    sandbox = await announced(world, SPOT, seconds)
    assert sandbox.state is S.RUNNING
    (note,) = notes(world, sandbox, "spot_interruption")
    assert note.shown
    (command,) = await commands(world, sandbox)
    assert command.env["BUCKET"].reveal() == "shop-backup"
    assert command.timeout == pytest.approx(limit, abs=1.1)  # it is heard within a second
    (end,) = notes(world, sandbox, "spot_grace_command")
    assert (end.message, end.shown) == ("the grace command ended with 3", True)


@in_no_time
async def test_a_last_command_that_takes_too_long_is_cut_off_and_that_is_said() -> None:
    world = world_of(Policy(), Lines(save=hangs))
    sandbox = await announced(world, SPOT, 30.0)
    (end,) = notes(world, sandbox, "spot_grace_command")
    assert "was cut off" in end.message


@in_no_time
async def test_an_announcement_without_a_last_command_is_an_event_only() -> None:
    world = world_of(Policy())
    sandbox = await announced(world, replace(SPEC, ec2=Ec2Overrides(spot=True)), 60.0)
    assert world.notes(sandbox) == ["spot_interruption"]


@in_no_time
async def test_an_announcement_whose_time_nobody_can_read_is_heeded_all_the_same() -> None:
    world = world_of(Policy(), Lines(save=saves))
    sandbox = await world.create(SPOT)
    world.connections.care(sandbox.id).interruption = "soon"
    async with world.watched():
        await world.clock.sleep(60)
    (command,) = await commands(world, sandbox)
    assert command.timeout == GRACE_COMMAND_SECS
    assert "soon" in notes(world, sandbox, "spot_interruption")[0].message


@in_no_time
@pytest.mark.parametrize(
    ("spec", "place"),
    [(SPEC, None), (SPOT, replace(SITE.place, backend="local"))],
    ids=["on demand", "local"],
)
async def test_a_machine_that_nobody_takes_back_is_not_asked(spec: Spec, place: Place | None) -> None:
    world = world_of(replace(ORPHANS, idle_timeout=1000.0))
    assert not world.notes(await announced(world, spec, 60.0, place))
