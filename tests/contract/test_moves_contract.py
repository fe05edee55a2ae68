"""What every runtime promises (`Machines`) of machines that are there: stop, start, hibernate, release."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from ciab.core.errors import RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import OwnerId
from ciab.core.machine import Cause, Machine, MachineState, RemainKind
from ciab.core.spec import Persistence, Spec
from ciab.testing.store import MemoryAttempts
from tests.ec2 import OWNER, SPEC, wanting
from tests.region import RunningRegion
from tests.runtimes import Bench, on_a_region, on_fakes

Open = Callable[..., Awaitable[Bench]]
PERSISTENT = replace(SPEC, persistence=Persistence.PERSISTENT)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegion]:
    running = RunningRegion(
        tmp_path_factory.mktemp("moves") / "region", {"visible_after": 0.0, "pending_secs": 0.05}
    )
    running.start()
    yield running
    running.end()


@pytest.fixture(params=["fake", "region"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens a runtime with these settings."""
    async with AsyncExitStack() as stack:

        async def opens(**settings: Any) -> Bench:
            if request.param == "fake":
                return on_fakes(**settings)
            return await stack.enter_async_context(on_a_region(request.getfixturevalue("region"), **settings))

        yield opens


@pytest.fixture
async def bench(opened: Open) -> Bench:
    return await opened()


async def again(bench: Bench, call: Callable[[Machine], Awaitable[None]]) -> None:
    """As the supervisor does: with the machine as it is now, until that does not say "later" any more."""
    async with asyncio.timeout(30):
        while True:
            seen = await bench.seen()
            try:
                if seen:
                    return await call(seen)
            except RuntimeUnavailable:
                await asyncio.sleep(0.02)


async def stopped(bench: Bench, spec: Spec | None = None) -> Machine:
    await bench.machines.stop(await bench.running(spec))
    return await bench.until(MachineState.STOPPED)


async def test_stop_keeps_the_machine_and_start_brings_it_back_at_another_address(bench: Bench) -> None:
    before = await bench.running()
    await bench.machines.start(before)
    await bench.machines.stop(before)
    rest = await bench.until(MachineState.STOPPED)
    assert rest.public_ip is None
    await bench.machines.stop(rest)
    await bench.machines.start(rest)
    after = await bench.until(MachineState.RUNNING)
    assert after.id == before.id
    assert after.private_ip == before.private_ip
    assert after.public_ip not in {None, before.public_ip}
    assert after.cause is None


async def test_a_stop_or_start_whose_answer_was_lost_may_be_repeated(bench: Bench) -> None:
    machine = await bench.running()
    await bench.lose("stop")
    with pytest.raises(RuntimeUnavailable):
        await bench.machines.stop(machine)
    await bench.machines.stop(machine)
    machine = await bench.until(MachineState.STOPPED)
    await bench.lose("start")
    with pytest.raises(RuntimeUnavailable):
        await bench.machines.start(machine)
    await again(bench, bench.machines.start)
    assert (await bench.until(MachineState.RUNNING)).id == machine.id


async def test_a_machine_that_is_still_stopping_is_started_later(bench: Bench) -> None:
    machine = await bench.running()
    await bench.machines.stop(machine)
    with pytest.raises(RuntimeUnavailable):
        await bench.machines.start(machine)
    await again(bench, bench.machines.start)
    await bench.until(MachineState.RUNNING)


async def test_a_machine_that_boots_is_stopped_later(bench: Bench) -> None:
    await bench.machines.launch(bench.order, MemoryAttempts())
    await again(bench, bench.machines.stop)
    await bench.until(MachineState.STOPPED)


async def test_an_ended_machine_can_neither_be_started_nor_stopped(bench: Bench) -> None:
    machine = await bench.running()
    await bench.machines.terminate(bench.order.sandbox_id, bench.place, MemoryAttempts())
    with pytest.raises(RuntimeRejected):
        await bench.machines.start(machine)
    with pytest.raises(RuntimeRejected):
        await bench.machines.stop(machine)


async def test_who_stopped_or_ended_it_is_told(bench: Bench) -> None:
    machine = await bench.running()
    assert machine.cause is None
    await bench.by_hand("stop", machine.id)
    rest = await bench.until(MachineState.STOPPED)
    assert (rest.cause, bool(rest.reason)) == (Cause.ASKED, True)
    await bench.by_hand("start", machine.id)
    assert (await bench.until(MachineState.RUNNING)).cause is None
    await bench.by_hand("terminate", machine.id)
    ended = await bench.until(MachineState.ENDING, MachineState.ENDED)
    assert (ended.cause, bool(ended.reason)) == (Cause.ASKED, True)


async def test_hibernation_is_for_machines_that_were_launched_for_it(opened: Open) -> None:
    plain = await opened()
    machine = await plain.running()
    assert not machine.hibernates
    await plain.machines.stop(machine, hibernate=True)
    await plain.until(MachineState.STOPPED)
    able = await opened(hibernate_on_pause=True)
    machine = await able.running()
    assert machine.hibernates
    await again(able, lambda seen: able.machines.stop(seen, hibernate=True))
    rest = await able.until(MachineState.STOPPED)
    assert (rest.cause, rest.public_ip) == (Cause.ASKED, None)
    await able.machines.start(rest)
    assert (await able.until(MachineState.RUNNING)).id == machine.id


async def test_spot_is_for_ephemeral_ones_that_want_it_and_cannot_be_stopped(opened: Open) -> None:
    cheap = await opened(spot=True)
    machine = await cheap.running()
    assert machine.spot
    with pytest.raises(RuntimeRejected):
        await cheap.machines.stop(machine)
    assert not (await (await opened(spot=True)).running(wanting(spot=False))).spot
    assert not (await (await opened(spot=True)).running(PERSISTENT)).spot
    assert (await (await opened()).running(wanting(spot=True))).spot


async def test_a_released_machine_is_seen_by_nothing_of_ours_and_stays(bench: Bench) -> None:
    machine = await stopped(bench)
    await bench.machines.release(machine)
    await bench.machines.release(machine)
    assert await bench.seen() is None
    assert machine.id not in {one.id for one in await bench.machines.owned("us-east-1")}
    left = await bench.remains.look("us-east-1", OWNER)
    assert not [remain for remain in left if remain.sandbox_id == machine.sandbox_id]
    await bench.by_hand("start", machine.id)  # it is there: its user can have it
    await bench.machines.release(machine)


async def test_a_released_machine_stays_also_where_a_restored_backup_wants_it_to_end(bench: Bench) -> None:
    attempts = MemoryAttempts()
    await bench.machines.launch(bench.order, attempts)
    await bench.machines.stop(await bench.until(MachineState.RUNNING))
    machine = await bench.until(MachineState.STOPPED)
    await bench.machines.release(machine)
    await bench.machines.terminate(machine.sandbox_id, bench.place, attempts)
    await bench.by_hand("start", machine.id)


async def test_a_machine_that_runs_is_not_released_yet(bench: Bench) -> None:
    machine = await bench.running()
    with pytest.raises(RuntimeUnavailable):
        await bench.machines.release(machine)
    assert (await bench.until(MachineState.RUNNING)).id == machine.id


async def test_a_machine_that_has_ended_has_nothing_to_be_released(bench: Bench) -> None:
    machine = await stopped(bench)
    await bench.by_hand("terminate", machine.id)
    await bench.machines.release(await bench.until(MachineState.ENDED))


async def test_a_sweep_sees_the_machine_and_ends_it(bench: Bench) -> None:
    machine = await bench.running()
    left = await bench.remains.look("us-east-1", OWNER)
    (remain,) = [one for one in left if one.id == machine.id]
    assert (remain.kind, remain.free, remain.keep) == (RemainKind.MACHINE, True, False)
    assert (remain.sandbox_id, remain.region) == (machine.sandbox_id, "us-east-1")
    assert remain.born_at is not None
    assert remain.born_at.tzinfo is not None
    assert await bench.remains.again(remain) == remain
    await bench.remains.end(remain)
    await bench.remains.end(remain)
    await bench.until(MachineState.ENDED)
    assert await bench.remains.again(remain) is None
    assert machine.id not in {one.id for one in await bench.remains.look("us-east-1", OWNER)}


async def test_a_sweep_of_another_owner_or_region_sees_nothing(bench: Bench) -> None:
    await bench.running()
    assert await bench.remains.look("us-east-1", OwnerId("somebody else")) == []
    assert await bench.remains.look("eu-west-1", OWNER) == []
