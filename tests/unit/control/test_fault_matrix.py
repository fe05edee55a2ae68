"""The fault matrix: every step fails, crashes, is repeated and is cut short by a delete."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from ciab.control.pipeline import Action, Step
from ciab.control.steps import STEPS
from ciab.control.work import Ports
from ciab.core.errors import RuntimeRejected, RuntimeUnavailable
from ciab.core.journal import Noted, StepStatus
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import GitRepo, Spec
from ciab.core.states import State
from tests.unit.control.peril import Killed
from tests.unit.control.world import World, with_step

NAMES = [step.name for step in STEPS]
UNDOABLE = [step.name for step in STEPS if step.undo]
FULL = Spec(
    "command",
    git_repos=(GitRepo(Secret("https://example.invalid/repo.git")),),
    provisioning_scripts=("echo one", "echo two"),
)
every_step = pytest.mark.parametrize("name", NAMES)


def before(action: Action, fault: BaseException) -> Action:
    async def run(sandbox: Sandbox, ports: Ports) -> Sandbox:
        raise fault

    return run


def after(action: Action, fault: BaseException) -> Action:
    async def run(sandbox: Sandbox, ports: Ports) -> Sandbox:
        await action(sandbox, ports)
        raise fault

    return run


def twice(action: Action) -> Action:
    async def run(sandbox: Sandbox, ports: Ports) -> Sandbox:
        await action(sandbox, ports)
        return await action(sandbox, ports)

    return run


sides = pytest.mark.parametrize("side", [before, after])


async def test_a_sandbox_comes_up_with_one_machine_and_goes_without_a_trace() -> None:
    world = World()
    sandbox = await world.create(FULL)
    assert sandbox.state is State.RUNNING
    assert world.billable() == [sandbox.machine.id if sandbox.machine else None]
    ended = await world.delete(sandbox)
    assert ended.state is State.TERMINATED
    assert not world.billable()
    assert await world.database.keys.get(sandbox.id) is None
    assert set((await world.database.store.steps(sandbox.id)).values()) == {StepStatus.UNDONE}


@every_step
@sides
async def test_a_step_that_fails_unwinds_everything(
    name: str, side: Callable[[Action, BaseException], Action]
) -> None:
    world = World()
    fault = RuntimeRejected("it said no", hint="ask again")
    steps = with_step(name, lambda step: replace(step, run=side(step.run, fault)))
    sandbox = await world.create(FULL, steps)
    assert sandbox.state is State.FAILED
    assert sandbox.failure is not None
    assert (sandbox.failure.step, sandbox.failure.code) == (name, "ec2_error")
    assert (sandbox.failure.message, sandbox.failure.hint) == ("it said no", "ask again")
    assert not world.billable()
    assert await world.database.keys.get(sandbox.id) is None


@every_step
@sides
async def test_a_step_that_does_not_pass_in_time_fails_with_its_last_fault(
    name: str, side: Callable[[Action, BaseException], Action]
) -> None:
    world = World()
    fault = RuntimeUnavailable("throttled")
    steps = with_step(name, lambda step: replace(step, run=side(step.run, fault)))
    sandbox = await world.create(FULL, steps)
    assert sandbox.state is State.FAILED
    assert sandbox.failure is not None
    assert (sandbox.failure.step, sandbox.failure.code) == (name, "runtime_unavailable")
    assert not world.billable()


@every_step
@sides
async def test_a_crash_in_a_step_is_gone_on_from_with_one_machine(
    name: str, side: Callable[[Action, BaseException], Action]
) -> None:
    world = World()
    steps = with_step(name, lambda step: replace(step, run=side(step.run, Killed())))
    sandbox = await world.create(FULL, steps)
    assert (world.deaths, sandbox.state) == (1, State.CREATING)
    assert (await world.go_on(sandbox)).state is State.RUNNING
    assert len(world.billable()) == 1
    assert world.machines.launched(sandbox.id) == 1


@pytest.mark.parametrize("name", UNDOABLE)
@sides
async def test_a_crash_in_an_undo_is_finished_by_the_next_life(
    name: str, side: Callable[[Action, BaseException], Action]
) -> None:
    world = World()
    sandbox = await world.create(FULL)

    def dies(step: Step) -> Step:
        assert step.undo
        return replace(step, undo=side(step.undo, Killed()))

    dying = await world.delete(sandbox, with_step(name, dies))
    assert (world.deaths, dying.state) == (1, State.TERMINATING)
    assert (await world.go_on(sandbox)).state is State.TERMINATED
    assert not world.billable()
    assert await world.database.keys.get(sandbox.id) is None


@every_step
async def test_running_every_step_twice_changes_nothing(name: str) -> None:
    world = World()
    sandbox = await world.create(FULL, with_step(name, lambda step: replace(step, run=twice(step.run))))
    assert sandbox.state is State.RUNNING
    assert len(world.billable()) == 1
    assert world.machines.launched(sandbox.id) == 1


@pytest.mark.parametrize("name", UNDOABLE)
async def test_undoing_a_step_twice_changes_nothing(name: str) -> None:
    world = World()
    sandbox = await world.create(FULL)

    def doubled(step: Step) -> Step:
        assert step.undo
        return replace(step, undo=twice(step.undo))

    assert (await world.delete(sandbox, with_step(name, doubled))).state is State.TERMINATED
    assert not world.billable()


@every_step
async def test_delete_during_a_step_leaves_no_machine(name: str) -> None:
    world = World()
    reached, released = asyncio.Event(), asyncio.Event()

    def held(step: Step) -> Step:
        async def run(sandbox: Sandbox, ports: Ports) -> Sandbox:
            sandbox = await step.run(sandbox, ports)
            reached.set()
            await released.wait()
            return sandbox

        return replace(step, run=run)

    async with world.process(with_step(name, held)) as (sandboxes, supervisor):
        made = await sandboxes.create(FULL, None)
        await reached.wait()
        await asyncio.gather(sandboxes.delete(made.id), sandboxes.delete(made.id))
        released.set()
        await supervisor.rest()
    ended = await world.sandbox(made.id)
    assert ended.state is State.TERMINATED
    assert not world.billable()
    assert await world.database.keys.get(made.id) is None


async def test_a_waiting_step_is_left_at_once_by_a_delete() -> None:
    world = World()

    def forever(step: Step) -> Step:
        async def run(sandbox: Sandbox, ports: Ports) -> Sandbox:
            await asyncio.Event().wait()
            return sandbox

        return replace(step, run=run)

    async with world.process(with_step("run_scripts", forever)) as (sandboxes, supervisor):
        made = await sandboxes.create(FULL, None)
        while (await world.database.store.steps(made.id)).get("run_scripts") is None:
            await asyncio.sleep(0)
        await sandboxes.delete(made.id)
        await supervisor.rest()
    assert (await world.sandbox(made.id)).state is State.TERMINATED


@pytest.mark.parametrize("name", UNDOABLE)
async def test_an_undo_never_gives_up(name: str) -> None:
    world = World()
    sandbox = await world.create(FULL)
    tries = 0

    def stubborn(step: Step) -> Step:
        async def undo(sandbox: Sandbox, ports: Ports) -> Sandbox:
            nonlocal tries
            tries += 1
            if tries < 5:
                raise RuntimeRejected("no permission to terminate")
            assert step.undo
            return await step.undo(sandbox, ports)

        return replace(step, undo=undo)

    assert (await world.delete(sandbox, with_step(name, stubborn))).state is State.TERMINATED
    notes = [e for e in world.database.store.journal[sandbox.id] if isinstance(e, Noted)]
    assert [note.action for note in notes] == ["sandbox_stuck"] * 4
    assert not world.billable()
