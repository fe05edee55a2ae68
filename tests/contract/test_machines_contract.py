"""What every runtime promises (`Machines`): launches, lookups, ends. See also the moves' contract."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from ciab.core.errors import CapacityUnavailable, RuntimeUnavailable
from ciab.core.ids import SandboxId
from ciab.core.machine import MachineState, Outcome
from ciab.testing.store import MemoryAttempts
from tests.ec2 import DyingAttempts
from tests.region import RunningRegion
from tests.runtimes import Bench, on_a_region, on_fakes

FREE = {MachineState.ENDING, MachineState.ENDED}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegion]:
    running = RunningRegion(tmp_path_factory.mktemp("contract") / "region", {"visible_after": 0.2})
    running.start()
    yield running
    running.end()


@pytest.fixture(params=["fake", "region"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield on_fakes()
        return
    async with on_a_region(request.getfixturevalue("region")) as opened:
        yield opened


async def test_a_launched_machine_becomes_visible_and_runs_at_an_address(bench: Bench) -> None:
    machine = await bench.machines.launch(bench.order, MemoryAttempts())
    seen = await bench.until(MachineState.RUNNING)
    assert seen.id == machine.id
    assert (seen.sandbox_id, seen.region) == (bench.order.sandbox_id, "us-east-1")
    assert seen.public_ip
    assert seen.private_ip == machine.private_ip
    assert seen.launched_at.tzinfo is not None


async def test_launching_again_gives_the_same_machine(bench: Bench) -> None:
    attempts = MemoryAttempts()
    first = await bench.machines.launch(bench.order, attempts)
    again = await bench.machines.launch(bench.order, attempts)
    assert again.id == first.id
    assert await bench.billable(bench.order.sandbox_id) == [first.id]
    assert [attempt.number for attempt in await attempts.past(bench.order.sandbox_id)] == [1]


async def test_a_launch_is_recorded_before_it_is_sent_and_settled_after(bench: Bench) -> None:
    attempts = MemoryAttempts()
    machine = await bench.machines.launch(bench.order, attempts)
    (attempt,) = await attempts.past(bench.order.sandbox_id)
    assert (attempt.outcome, attempt.machine_id) == (Outcome.LAUNCHED, machine.id)
    assert attempt.token.startswith(bench.order.sandbox_id)
    assert attempt.place == bench.place
    assert bench.order.keys.host.private.reveal() not in repr(attempt)


async def test_a_launch_whose_answer_was_lost_stays_open_and_gives_one_machine(bench: Bench) -> None:
    attempts = MemoryAttempts()
    await bench.lose("launch")
    with pytest.raises(RuntimeUnavailable):
        await bench.machines.launch(bench.order, attempts)
    (attempt,) = await attempts.past(bench.order.sandbox_id)
    assert attempt.outcome is Outcome.OPEN
    machine = await bench.machines.launch(bench.order, attempts)
    assert await bench.billable(bench.order.sandbox_id) == [machine.id]


async def test_a_launch_whose_outcome_was_never_written_gives_one_machine(bench: Bench) -> None:
    attempts = DyingAttempts(deaths=2)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await bench.machines.launch(bench.order, attempts)
    machine = await bench.machines.launch(bench.order, attempts)
    assert await bench.billable(bench.order.sandbox_id) == [machine.id]


async def test_a_refused_launch_is_settled_and_launches_nothing(bench: Bench) -> None:
    attempts = MemoryAttempts()
    await bench.refuse_launch()
    with pytest.raises(CapacityUnavailable):
        await bench.machines.launch(bench.order, attempts)
    assert {attempt.outcome for attempt in await attempts.past(bench.order.sandbox_id)} == {Outcome.REFUSED}
    await bench.machines.terminate(bench.order.sandbox_id, bench.place, attempts)
    assert await bench.billable(bench.order.sandbox_id) == []


async def test_terminate_ends_the_machine_and_may_be_repeated(bench: Bench) -> None:
    attempts = MemoryAttempts()
    machine = await bench.machines.launch(bench.order, attempts)
    await bench.until(MachineState.RUNNING)
    await bench.machines.terminate(bench.order.sandbox_id, bench.place, attempts)
    await bench.machines.terminate(bench.order.sandbox_id, bench.place, attempts)
    assert await bench.billable(bench.order.sandbox_id) == []
    seen = await bench.machines.find(bench.order.sandbox_id, bench.place)
    assert seen is not None
    assert seen.id == machine.id
    assert seen.state in FREE


async def test_terminate_right_after_the_launch_ends_it_as_soon_as_it_can_be_seen(bench: Bench) -> None:
    attempts = MemoryAttempts()
    await bench.machines.launch(bench.order, attempts)
    await ended(bench, attempts)


async def test_terminate_ends_what_an_open_attempt_launched(bench: Bench) -> None:
    attempts = MemoryAttempts()
    await bench.lose("launch")
    with pytest.raises(RuntimeUnavailable):
        await bench.machines.launch(bench.order, attempts)
    await ended(bench, attempts)


async def test_terminate_finds_a_machine_that_no_attempt_knows(bench: Bench) -> None:
    await bench.machines.launch(bench.order, MemoryAttempts())
    await bench.until(MachineState.RUNNING)
    await bench.machines.terminate(bench.order.sandbox_id, bench.place, MemoryAttempts())
    assert await bench.billable(bench.order.sandbox_id) == []


async def test_terminate_where_nothing_was_launched_does_nothing(bench: Bench) -> None:
    nobody = SandboxId(str(uuid.uuid4()))
    await bench.machines.terminate(nobody, bench.place, MemoryAttempts())
    assert await bench.machines.find(nobody, bench.place) is None


async def test_owned_lists_what_has_not_ended(bench: Bench) -> None:
    attempts = MemoryAttempts()
    machine = await bench.machines.launch(bench.order, attempts)
    await bench.until(MachineState.RUNNING)
    assert machine.id in {one.id for one in await bench.machines.owned("us-east-1")}
    await bench.machines.terminate(bench.order.sandbox_id, bench.place, attempts)
    assert machine.id not in {one.id for one in await bench.machines.owned("us-east-1")}
    assert await bench.machines.owned("eu-west-1") == []


async def test_the_console_of_a_running_machine_can_be_read(bench: Bench) -> None:
    await bench.machines.launch(bench.order, MemoryAttempts())
    machine = await bench.until(MachineState.RUNNING)
    assert machine.id in await bench.machines.console(machine)


async def ended(bench: Bench, attempts: MemoryAttempts) -> None:
    """Terminate as the supervisor does, again while it says "not yet"; then nothing is billed."""
    async with asyncio.timeout(30):
        while True:
            try:
                await bench.machines.terminate(bench.order.sandbox_id, bench.place, attempts)
                break
            except RuntimeUnavailable:
                await asyncio.sleep(0.05)
    assert await bench.billable(bench.order.sandbox_id) == []
