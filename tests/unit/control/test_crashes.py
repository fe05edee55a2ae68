"""Every move of a machine that is there, struck at each of its calls: by death, by a lost answer, by a fault.

The next life, or the next try, leads to the same end: one machine, nothing lost, and every hour paid for.
"""

import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from ciab.control.costs import Costs
from ciab.control.policy import Policy
from ciab.core.machine import MachineState
from ciab.core.sandbox import Held, Sandbox
from ciab.core.states import State
from ciab.testing.prices import FakePrices
from tests.unit.control.peril import Peril, Side, killed, passing
from tests.unit.control.world import SPEC, Cloud, World

S = State
RUNNING, DISK = 1.0, 0.1
"""Dollars an hour."""
AWAY = 3600.0
"""Seconds between two lives."""
STOPS, FREEZES, HIBERNATES = Policy(), Policy(stop_on_pause=False), Policy(hibernate_on_pause=True)


@dataclass(frozen=True)
class Move:
    """What is asked for after what, and how that ends."""

    verb: str
    end: State
    machine: MachineState
    usd_hour: float
    before: tuple[str, ...] = ()
    policy: Policy = STOPS
    held: Held | None = None

    def world(self) -> World:
        hibernates = self.policy.hibernate_on_pause
        return World(
            machines=Cloud(pending=2, stopping=2, hibernates=hibernates),
            policy=self.policy,
            prices=FakePrices(RUNNING, disk=DISK),
        )


UP, DOWN, OVER = MachineState.RUNNING, MachineState.STOPPED, MachineState.ENDED
MOVES = {
    "pause": Move("pause", S.PAUSED, DOWN, DISK, held=Held.STOPPED),
    "freeze": Move("pause", S.PAUSED, UP, RUNNING, policy=FREEZES, held=Held.FROZEN),
    "hibernate": Move("pause", S.PAUSED, DOWN, DISK, policy=HIBERNATES, held=Held.HIBERNATED),
    "resume": Move("resume", S.RUNNING, UP, RUNNING, ("pause",)),
    "thaw": Move("resume", S.RUNNING, UP, RUNNING, ("pause",), FREEZES),
    "wake": Move("resume", S.RUNNING, UP, RUNNING, ("pause",), HIBERNATES),
    "stop": Move("stop", S.STOPPED, DOWN, DISK),
    "stop_of_frozen": Move("stop", S.STOPPED, DOWN, DISK, ("pause",), FREEZES),
    "start": Move("start", S.RUNNING, UP, RUNNING, ("stop",)),
    "release": Move("delete", S.TERMINATED, DOWN, 0.0, policy=Policy(terminate_on_delete=False)),
    "delete": Move("delete", S.TERMINATED, OVER, 0.0),
    "delete_of_frozen": Move("delete", S.TERMINATED, OVER, 0.0, ("pause",), FREEZES),
}
every_move = pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
sides = pytest.mark.parametrize("side", ["before", "after"])


async def struck(
    move: Move, side: Side, fault: Callable[[str], BaseException | None]
) -> AsyncIterator[tuple[World, Sandbox, str]]:
    """The move, struck at its first call, then in another world at its second, and so on; and the call."""
    for number in itertools.count():
        world = move.world()
        sandbox = await world.create(SPEC)
        for verb in move.before:
            await world.ask(verb, sandbox)
        await getattr(world.desk(), move.verb)(sandbox.id)
        world.peril = peril = Peril(number, side, fault)
        await world.go_on(sandbox)
        world.peril = None
        if peril.struck is None:
            assert number, "nothing was ever struck"
            return
        yield world, await world.sandbox(sandbox.id), f"{side} call {number}, {peril.struck}"


def check(move: Move, world: World, after: Sandbox, call: str) -> None:
    machine = world.machine(after)
    assert (after.state, after.failure) == (move.end, None), call
    assert machine.state is move.machine, call
    assert world.machines.launched(after.id) == 1, call
    assert after.meter, call
    assert after.meter.usd_hour == move.usd_hour, call
    if after.live:
        assert after.held is move.held, call
        if move.machine is UP:
            assert world.connections.care(after.id).frozen is (move.held is Held.FROZEN), call
        assert world.billable() == [machine.id], call
    else:
        assert not world.billable(), call
        assert (machine.id in world.machines.released) is (move.machine is DOWN), call
    assert "memory_lost" not in world.notes(after), call
    assert "not_hibernated" not in world.notes(after), call


async def cost(world: World, sandbox: Sandbox) -> float:
    usd = (await Costs(world.ports()).of([await world.sandbox(sandbox.id)]))[sandbox.id].usd
    assert usd is not None
    return usd


@every_move
@sides
async def test_a_crash_at_any_call_is_gone_on_from_to_the_same_end(move: Move, side: Side) -> None:
    async for world, dead, call in struck(move, side, killed):
        assert world.deaths == 1, call
        check(move, world, await world.go_on(dead), call)


@every_move
@sides
async def test_a_lost_answer_or_a_passing_fault_at_any_call_changes_nothing(move: Move, side: Side) -> None:
    async for world, after, call in struck(move, side, passing):
        assert world.deaths == 0, call
        check(move, world, after, call)
        assert world.notes(after) == [], call  # nobody was alarmed


async def test_every_call_that_moves_a_machine_is_struck() -> None:
    calls = set()
    for move in MOVES.values():
        async for _, _, call in struck(move, "before", killed):
            calls.add(call.rpartition(" ")[2])
    assert calls >= {
        *(f"machines.{one}" for one in ("find", "stop", "start", "release", "terminate")),
        *(f"care.{one}" for one in ("freeze", "thaw", "pulse")),
        *(f"store.{one}" for one in ("page", "get", "steps", "save")),
        "connections.connect",
    }


@every_move
@sides
async def test_what_runs_while_no_server_does_is_paid_for(move: Move, side: Side) -> None:
    async for world, dead, call in struck(move, side, killed):
        known = await cost(world, dead)
        ran = world.machine(dead).state in (MachineState.PENDING, MachineState.RUNNING)
        world.clock.now += AWAY
        after = await world.go_on(dead)
        paid = (await cost(world, after)) - known
        assert (RUNNING if ran else 0.0) * AWAY / 3600 <= paid <= RUNNING * AWAY / 3600 + 0.05, call
