"""What a machine that did not come up can still tell, without its secrets and without holding anybody up."""

import asyncio
from dataclasses import replace

import pytest

from ciab.control.evidence import CONSOLE_LINES, LINES, SECONDS
from ciab.core.errors import RuntimeRejected, RuntimeUnavailable
from ciab.core.machine import Machine
from ciab.core.sandbox import Failure
from ciab.core.secret import Secret
from ciab.core.states import State
from ciab.testing.guest import Call
from tests.unit.control.clocks import LoopClock, in_no_time
from tests.unit.control.lines import Lines
from tests.unit.control.world import SPEC, Cloud, World

SCRIPTED = replace(
    SPEC, provisioning_scripts=("make",), env_vars={"TOKEN": Secret("s3cret-token"), "N": Secret("1")}
)


class Talkative(Cloud):
    """Machines whose console shows what a test wants; None: the call never ends."""

    said: str | None = "booting\nlogin:"

    async def console(self, machine: Machine) -> str:
        await super().console(machine)
        if self.said is None:
            await asyncio.Event().wait()
        return self.said or ""


async def breaks(call: Call) -> int:
    await call.all_stdin()
    return 7


def log_of(text: str, exit_code: int = 0) -> Lines:
    async def tail(call: Call) -> int:
        call.out(text.encode())
        return exit_code

    return Lines(bash=breaks, sh=tail)


def world_of(lines: Lines, said: str | None = "booting\nlogin:") -> World:
    machines = Talkative()
    machines.said = said
    return World(clock=LoopClock(), connections=lines, machines=machines)


async def failed(world: World) -> Failure:
    sandbox = await world.create(SCRIPTED)
    assert sandbox.state is State.FAILED
    assert sandbox.failure
    assert sandbox.failure.step == "run_scripts"
    assert not world.billable()
    return sandbox.failure


@in_no_time
async def test_a_failure_keeps_the_end_of_the_console_and_of_cloud_inits_log() -> None:
    many = "\n".join(f"line {number}" for number in range(100))
    failure = await failed(world_of(log_of(many), said=many))
    lines = many.splitlines()
    assert failure.console == "\n".join(lines[-CONSOLE_LINES:])
    assert failure.cloud_init == "\n".join(lines[-LINES:])


@in_no_time
async def test_what_is_secret_and_what_no_terminal_should_get_is_left_out() -> None:
    text = "token=s3cret-token\n\n\x1b[31mred\x1b]0;title\x07 1\r\n"
    failure = await failed(world_of(log_of(text), said=text))
    assert failure.console == failure.cloud_init == "token=***\n[31mred]0;title 1"


@in_no_time
@pytest.mark.parametrize(("text", "code"), [("", 0), ("tail: no such file", 1)])
async def test_a_machine_that_has_nothing_to_tell_tells_nothing(text: str, code: int) -> None:
    failure = await failed(world_of(log_of(text, code), said=""))
    assert (failure.console, failure.cloud_init) == (None, None)


@in_no_time
@pytest.mark.parametrize("silence", ["cut", "hanging"])
async def test_a_machine_out_of_reach_does_not_hold_up_its_end(silence: str) -> None:
    async def goes_silent(call: Call) -> int:
        await call.all_stdin()
        lines.cut = silence == "cut"
        if silence == "hanging":
            lines.hanging.add(made.id)
        return 7

    lines = Lines(bash=goes_silent)
    world = world_of(lines, said=None if silence == "hanging" else "booting")
    async with world.process() as (sandboxes, supervisor):
        made = await sandboxes.create(SCRIPTED, None)
        await supervisor.rest()
    failure = (await world.sandbox(made.id)).failure
    assert failure
    assert (failure.code, failure.cloud_init) == ("command_failed", None)
    assert failure.console == (None if silence == "hanging" else "booting")
    assert world.clock.ticks() < SECONDS + 2
    assert not world.billable()


@in_no_time
@pytest.mark.parametrize("fault", [RuntimeUnavailable("throttled"), RuntimeRejected("no permission")])
async def test_a_console_that_nobody_may_read_is_left_out(fault: RuntimeRejected) -> None:
    world = world_of(log_of("a line"))
    world.machines.fail_next["console"] = fault
    failure = await failed(world)
    assert (failure.console, failure.cloud_init) == (None, "a line")


@in_no_time
async def test_without_a_machine_there_is_nothing_to_ask() -> None:
    world = world_of(log_of("a line"))
    world.machines.fail_next["launch"] = RuntimeRejected("no")
    failure = (await world.create(SCRIPTED)).failure
    assert failure == Failure("launch_machine", "ec2_error", "no")


@in_no_time
async def test_a_delete_does_not_wait_for_evidence() -> None:
    world = world_of(log_of("a line"), said=None)
    async with world.process() as (sandboxes, supervisor):
        made = await sandboxes.create(SCRIPTED, None)
        await world.clock.sleep(5)
        await sandboxes.delete(made.id)
        began = world.clock.ticks()
        await supervisor.rest()
    assert world.clock.ticks() - began < 1
    assert (await world.sandbox(made.id)).state is State.TERMINATED
