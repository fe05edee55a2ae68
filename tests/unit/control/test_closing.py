"""The orderly end: everything ephemeral goes, everything persistent stops, the rest is named."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from ciab.control.closing import Left, close_down, intend_end
from ciab.control.policy import Policy
from ciab.control.sandboxes import Sandboxes
from ciab.control.supervisor import Supervisor
from ciab.core.errors import RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import SandboxId
from ciab.core.machine import LaunchOrder, Outcome, Place, SandboxKeys
from ciab.core.ports import Attempts
from ciab.core.sandbox import Sandbox
from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.testing.machines import FakeMachines
from ciab.testing.store import MemoryAttempts
from tests.unit.control.things import ended, swept, thing
from tests.unit.control.world import SITE, SPEC, World

PERSISTENT = replace(SPEC, persistence=Persistence.PERSISTENT)


async def close(world: World, sandboxes: Sandboxes, supervisor: Supervisor, seconds: float) -> Sequence[Left]:
    ports = world.ports()
    intended = await intend_end(ports, sandboxes)
    return await close_down(ports, sandboxes, supervisor, world.reaper(), intended=intended, seconds=seconds)


async def test_an_end_terminates_what_is_ephemeral_and_stops_what_is_persistent() -> None:
    world = World()
    async with world.process() as (sandboxes, supervisor):
        short = [await sandboxes.create(SPEC, None) for _ in range(3)]
        long = await sandboxes.create(PERSISTENT, None)
        await supervisor.rest()
        coming_up = await sandboxes.create(SPEC, None)
        left = await close(world, sandboxes, supervisor, 60)
    assert not left
    for one in [*short, coming_up]:
        assert (await world.sandbox(one.id)).state is State.TERMINATED
    assert (await world.sandbox(long.id)).state is State.STOPPED
    assert [machine.sandbox_id for machine in world.machines.alive()] == [long.id]


async def test_an_end_that_is_cut_off_before_its_first_call_is_finished_by_the_next_life() -> None:
    world = World()
    async with world.process() as (sandboxes, supervisor):
        made = [await sandboxes.create(SPEC, None) for _ in range(3)]
        await supervisor.rest()
        assert len(await intend_end(world.ports(), sandboxes)) == 3
    for one in made:
        assert (await world.go_on(one)).state is State.TERMINATED
    assert not world.billable()


async def test_an_end_names_what_it_could_not_do_and_the_next_life_does_it() -> None:
    world = World()
    sandbox = await world.create()
    async with world.process() as (sandboxes, supervisor):
        world.machines.fail_next["terminate"] = RuntimeRejected("no permission to terminate")
        await sandboxes.delete(sandbox.id)
        left = await close(world, sandboxes, supervisor, 0)
    assert sandbox.machine
    assert [sandbox.id in one.what and sandbox.machine.id in one.what for one in left] == [True]
    assert "next start" in left[0].why
    assert (await world.go_on(sandbox)).state is State.TERMINATED
    assert not world.billable()


async def test_an_end_takes_stray_machines_of_ended_sandboxes_and_names_unknown_ones() -> None:
    world = World()
    sandbox = await world.create()
    await world.delete(sandbox)
    assert sandbox.image
    keys = SandboxKeys(world.mint_key(), world.mint_key())
    order = LaunchOrder(sandbox.id, sandbox.name, SPEC, SITE, sandbox.image, keys, "ssh-ed25519 AAAA")
    unrecorded = MemoryAttempts()
    (first,) = await world.database.attempts.past(sandbox.id)
    await unrecorded.begin(replace(first, outcome=Outcome.REFUSED))
    stray = await world.machines.launch(order, unrecorded)
    stranger = replace(order, sandbox_id=SandboxId("somebody-else"))
    unknown = await world.machines.launch(stranger, unrecorded)
    async with world.process() as (sandboxes, supervisor):
        left = await close(world, sandboxes, supervisor, 60)
    assert stray.id not in world.billable()
    assert world.billable() == [unknown.id]
    assert [unknown.id in one.what for one in left] == [True]


class WatchedMachines(FakeMachines):
    """Notes, at the first terminate, the states of all sandboxes."""

    def __init__(self, states: Callable[[], Awaitable[list[State]]]) -> None:
        super().__init__()
        self.seen: list[State] = []
        self._states = states

    async def terminate(self, sandbox_id: SandboxId, place: Place, attempts: Attempts) -> None:
        self.seen = self.seen or await self._states()
        await super().terminate(sandbox_id, place, attempts)


async def test_all_intents_are_saved_before_the_first_call() -> None:
    world = World()
    made: list[Sandbox] = []

    async def states() -> list[State]:
        return [(await world.sandbox(one.id)).state for one in made]

    world.machines = watched = WatchedMachines(states)
    async with world.process() as (sandboxes, supervisor):
        made += [await sandboxes.create(SPEC, None) for _ in range(20)]
        await supervisor.rest()
        await close(world, sandboxes, supervisor, 60)
    assert watched.seen == [State.TERMINATING] * 20


async def test_an_end_looks_again_where_it_could_not_look_at_once() -> None:
    world, things = swept(Policy())
    sandbox = await ended(world)
    things.put(thing(world, "orphan", sandbox.id))
    things.fail_next["look"] = RuntimeUnavailable("no answer in time")
    async with world.process() as (sandboxes, supervisor):
        left = await close(world, sandboxes, supervisor, 60)
    assert not left
    assert things.ended == ["orphan"]


async def test_an_end_names_the_strays_that_were_too_many_for_one_sweep() -> None:
    world, things = swept(Policy(max_per_sweep=3))
    sandbox = await ended(world)
    for number in range(5):
        things.put(thing(world, f"orphan-{number}", sandbox.id))
    things.put(replace(thing(world, "kept", sandbox.id), keep=True))
    async with world.process() as (sandboxes, supervisor):
        left = await close(world, sandboxes, supervisor, 60)
    assert len(things.ended) == 3
    assert len(left) == 2
    assert all("orphan" in one.what and "enough for one sweep" in one.why for one in left)
