"""What users ask for, and what happens to a sandbox that has once run."""

import asyncio
from dataclasses import replace

import pytest

from ciab.control.pipeline import CALLING
from ciab.control.reach import target_of
from ciab.control.work import Limits, Ports
from ciab.core.errors import (
    CapacityUnavailable,
    Conflict,
    GuestUnreachable,
    InvalidRequest,
    InvalidState,
    RuntimeRejected,
    SandboxNotFound,
)
from ciab.core.machine import MachineState
from ciab.core.ports import Once
from ciab.core.sandbox import Failure, Sandbox
from ciab.core.spec import Spec
from ciab.core.states import State
from ciab.testing.machines import FakeMachines
from tests.unit.control.world import SPEC, World, with_step


async def test_an_agent_that_is_not_there_is_refused_before_anything_is_kept() -> None:
    world = World()
    async with world.process() as (sandboxes, _):
        with pytest.raises(InvalidRequest, match="claude-code") as refused:
            await sandboxes.create(Spec("claude-code"), None)
    assert refused.value.hint == "available: command"
    assert not world.database.store.journal


async def test_the_same_idempotency_key_makes_one_sandbox() -> None:
    world = World()
    async with world.process() as (sandboxes, supervisor):
        first = await sandboxes.create(SPEC, None, Once("key", "digest"))
        again = await sandboxes.create(SPEC, None, Once("key", "digest"))
        with pytest.raises(Conflict):
            await sandboxes.create(SPEC, None, Once("key", "another"))
        await supervisor.rest()
    assert first.id == again.id
    assert len(world.billable()) == 1


async def test_deleting_twice_is_no_error_and_an_unknown_one_is() -> None:
    world = World()
    sandbox = await world.create()
    await world.delete(sandbox)
    assert (await world.delete(sandbox)).state is State.TERMINATED
    async with world.process() as (sandboxes, _):
        with pytest.raises(SandboxNotFound):
            await sandboxes.delete("nobody")


async def test_stop_keeps_the_machine_and_start_brings_it_back_at_its_new_address() -> None:
    world = World()
    sandbox = await world.create()
    async with world.process() as (sandboxes, supervisor):
        await sandboxes.stop(sandbox.id)
        await supervisor.rest()
        stopped = await world.sandbox(sandbox.id)
        assert stopped.state is State.STOPPED
        with pytest.raises(InvalidState, match="stopped"):
            async with world.reach(sandboxes).visit(sandbox.id):
                pass
        await sandboxes.start(sandbox.id)
        await supervisor.rest()
    started = await world.sandbox(sandbox.id)
    assert started.state is State.RUNNING
    assert started.machine
    assert sandbox.machine
    assert started.machine.id == sandbox.machine.id
    assert started.machine.public_ip not in (None, sandbox.machine.public_ip)


async def test_a_start_without_capacity_leaves_it_stopped_and_says_why() -> None:
    world = World()
    sandbox = await world.create()
    async with world.process() as (sandboxes, supervisor):
        await sandboxes.stop(sandbox.id)
        await supervisor.rest()
        world.machines.fail_next["start"] = CapacityUnavailable("no t3.medium in us-east-1a")
        await sandboxes.start(sandbox.id)
        await supervisor.rest()
        failed = await world.sandbox(sandbox.id)
        assert failed.state is State.STOPPED
        assert failed.failure
        assert (failed.failure.step, failed.failure.code) == ("start_machine", "capacity_unavailable")
        await sandboxes.start(sandbox.id)
        await supervisor.rest()
    started = await world.sandbox(sandbox.id)
    assert (started.state, started.failure) == (State.RUNNING, None)
    assert world.machines.launched(sandbox.id) == 1


async def test_a_machine_that_ends_while_it_comes_up_is_a_failure_with_its_reason() -> None:
    world = World(machines=FakeMachines(pending=1000))
    async with world.process() as (sandboxes, supervisor):
        made = await sandboxes.create(SPEC, None)
        while not world.billable():
            await world.clock.sleep(0)
        world.machines.end(world.billable()[0], "Client.VolumeLimitExceeded")
        await supervisor.rest()
    failed = await world.sandbox(made.id)
    assert failed.state is State.FAILED
    assert failed.failure
    assert failed.failure.step == "await_machine"
    assert "Client.VolumeLimitExceeded" in failed.failure.message


@pytest.mark.parametrize("name", ["await_guest", "prepare_workspace", "clone_repositories", "run_scripts"])
async def test_a_machine_that_ends_during_set_up_is_not_waited_for(name: str) -> None:
    world = World()

    async def dies(sandbox: Sandbox, ports: Ports) -> Sandbox:
        if world.billable():
            world.machines.end(world.billable()[0], "Server.SpotInstanceTermination")
        raise GuestUnreachable("the machine does not answer")

    failed = await world.create(steps=with_step(name, lambda step: replace(step, run=dies)))
    assert failed.failure
    assert (failed.failure.step, failed.failure.code) == (name, "machine_ended")
    assert "Server.SpotInstanceTermination" in failed.failure.message
    assert world.clock.now < 10


@pytest.mark.parametrize(
    ("name", "limits"),
    [("await_machine", Limits(ready=7)), ("await_guest", Limits(login=7)), ("run_scripts", Limits(setup=7))],
)
async def test_a_step_waits_as_long_as_its_limit_says(name: str, limits: Limits) -> None:
    world = World(limits=limits)

    async def never(sandbox: Sandbox, ports: Ports) -> Sandbox:
        raise GuestUnreachable("the machine does not answer")

    failed = await world.create(steps=with_step(name, lambda step: replace(step, run=never)))
    assert failed.failure
    assert (failed.failure.step, failed.failure.code) == (name, "guest_unreachable")
    assert 7 <= world.clock.now <= 7 + CALLING.longest  # the last pause may begin just before the end


async def test_late_visibility_is_waited_for() -> None:
    world = World(machines=FakeMachines(lag=7, pending=3))
    sandbox = await world.create()
    assert sandbox.state is State.RUNNING
    assert world.machines.launched(sandbox.id) == 1


@pytest.mark.parametrize("method", ["launch", "terminate"])
async def test_an_answer_lost_after_the_work_makes_no_second_machine(method: str) -> None:
    world = World(machines=FakeMachines(lag=5, lose_next={method}))
    sandbox = await world.create()
    assert world.machines.launched(sandbox.id) == 1
    await world.delete(sandbox)
    assert not world.billable()
    assert world.machines.launched(sandbox.id) == 1


async def test_a_place_that_the_configuration_has_left_keeps_its_sandboxes_site() -> None:
    world = World()
    sandbox = await world.create()
    ports = replace(world.ports(), site_of=lambda spec: pytest.fail("decided twice"))
    assert sandbox.site
    target = await target_of(sandbox, ports)
    assert (target.user, target.port) == (sandbox.site.login.user, sandbox.site.login.port)


async def test_a_sandbox_that_a_changed_configuration_cannot_place_fails_clean() -> None:
    world = World()
    async with world.process() as (sandboxes, supervisor):
        made = await sandboxes.create(SPEC, None)
        world.place = InvalidRequest("the region eu-nowhere-1 does not exist", hint="correct it")
        await supervisor.rest()
    failed = await world.sandbox(made.id)
    assert failed.state is State.FAILED
    assert failed.failure == Failure(
        "begin", "invalid_request", "the region eu-nowhere-1 does not exist", "correct it"
    )


async def test_many_at_once_all_come_up() -> None:
    world = World()
    async with world.process() as (sandboxes, supervisor):
        made = [await sandboxes.create(SPEC, None) for _ in range(200)]
        await supervisor.rest()
    states = [(await world.sandbox(one.id)).state for one in made]
    assert states == [State.RUNNING] * 200
    assert len(world.billable()) == 200
    assert all(machine.state is MachineState.RUNNING for machine in world.machines.alive())


async def test_a_sandbox_that_cannot_be_stopped_is_alarmed_and_tried_again() -> None:
    world = World()
    sandbox = await world.create()
    world.machines.fail_next["stop"] = RuntimeRejected("no permission to stop")
    async with world.process() as (sandboxes, supervisor):
        await sandboxes.stop(sandbox.id)
        await supervisor.rest()
    assert (await world.sandbox(sandbox.id)).state is State.STOPPED


async def test_what_is_put_to_rest_does_not_wait_behind_creations() -> None:
    begun = asyncio.Event()

    async def for_ever(sandbox: Sandbox, ports: Ports) -> Sandbox:
        begun.set()
        await asyncio.Event().wait()
        return sandbox

    world = World(limits=Limits(driven=1))
    runs = await world.create()
    async with world.process(with_step("await_guest", lambda one: replace(one, run=for_ever))) as life:
        sandboxes, supervisor = life
        await sandboxes.create(SPEC, None)
        await begun.wait()
        await sandboxes.pause(runs.id)
        async with asyncio.timeout(5):
            await supervisor.until_rest(runs.id)
    assert (await world.sandbox(runs.id)).state is State.PAUSED
