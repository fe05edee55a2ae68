"""What every runtime promises (`Machines`): the fake, and EC2's adapter against a local region."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

from ciab.core.errors import CapacityUnavailable, RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import SandboxId
from ciab.core.machine import (
    LaunchOrder,
    Login,
    Machine,
    MachineImage,
    MachineState,
    Outcome,
    Place,
    Site,
)
from ciab.core.ports import Machines
from ciab.testing.machines import FakeMachines
from ciab.testing.store import MemoryAttempts
from tests.ec2 import DyingAttempts, account, an_order
from tests.region import RunningRegion

FREE = {MachineState.ENDING, MachineState.ENDED}


@dataclass
class Bench:
    """A runtime, and what a test asks its world to do. `billable`: ids of a sandbox's machines."""

    machines: Machines
    order: LaunchOrder
    lose_launch: Callable[[], Awaitable[None]]
    refuse_launch: Callable[[], Awaitable[None]]
    billable: Callable[[SandboxId], Awaitable[list[str]]]

    @property
    def place(self) -> Place:
        return self.order.site.place

    async def until(self, state: MachineState) -> Machine:
        """The machine once a lookup shows it so."""
        async with asyncio.timeout(30):
            while True:
                seen = await self.machines.find(self.order.sandbox_id, self.place)
                if seen and seen.state is state:
                    return seen


def fake() -> Bench:
    machines = FakeMachines(lag=2, pending=2)
    site = Site(Place("fake", "", "", "us-east-1"), Login("ubuntu", 22, "public"))

    async def lose() -> None:
        machines.lose_next.add("launch")

    async def refuse() -> None:
        machines.fail_next["launch"] = CapacityUnavailable("no capacity")

    async def billable(sandbox_id: SandboxId) -> list[str]:
        return [machine.id for machine in machines.alive() if machine.sandbox_id == sandbox_id]

    order = an_order(site, MachineImage("ami-00000000000000001", "/dev/sda1", "x86_64"))
    return Bench(machines, order, lose, refuse, billable)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegion]:
    running = RunningRegion(tmp_path_factory.mktemp("contract") / "region", {"visible_after": 0.2})
    running.start()
    yield running
    running.end()


@pytest.fixture(params=["fake", "region"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    if request.param == "fake":
        yield fake()
        return
    here: RunningRegion = request.getfixturevalue("region")
    await here.set_faults(lose=[], capacity=[])
    async with account(here) as made:

        async def lose() -> None:
            await here.set_faults(lose=[{"action": "RunInstances", "times": 1}])

        async def refuse() -> None:
            await here.set_faults(capacity=[{}])

        async def billable(sandbox_id: SandboxId) -> list[str]:
            # late visibility hides nothing from who looks long enough
            await asyncio.sleep(0.25)
            return [instance["InstanceId"] for instance in await made.instances(sandbox_id)]

        order = await made.order()
        yield Bench(made.ec2.machines, order, lose, refuse, billable)
        await made.clean()
        await made.ec2.machines.terminate(order.sandbox_id, order.site.place, MemoryAttempts())


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
    await bench.lose_launch()
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
    await bench.lose_launch()
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


async def test_stop_keeps_the_machine_and_start_brings_it_back_at_another_address(bench: Bench) -> None:
    await bench.machines.launch(bench.order, MemoryAttempts())
    before = await bench.until(MachineState.RUNNING)
    await bench.machines.start(before)
    await bench.machines.stop(before)
    stopped = await bench.until(MachineState.STOPPED)
    assert stopped.public_ip is None
    await bench.machines.stop(stopped)
    await bench.machines.start(stopped)
    after = await bench.until(MachineState.RUNNING)
    assert after.id == before.id
    assert after.private_ip == before.private_ip
    assert after.public_ip not in {None, before.public_ip}


async def test_an_ended_machine_cannot_be_started(bench: Bench) -> None:
    attempts = MemoryAttempts()
    machine = await bench.machines.launch(bench.order, attempts)
    await bench.until(MachineState.RUNNING)
    await bench.machines.terminate(bench.order.sandbox_id, bench.place, attempts)
    with pytest.raises(RuntimeRejected):
        await bench.machines.start(machine)


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
