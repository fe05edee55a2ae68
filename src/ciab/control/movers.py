"""What happens in each moving state. A mover takes a sandbox and gives it in the state that follows."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from ciab.control.pipeline import KNOCKING, WATCHING, Step, attempt, failure_of, provision, unwind
from ciab.control.steps import (
    STEPS,
    address,
    await_guest,
    site,
    still_alive,
)
from ciab.control.work import Ports, Work
from ciab.core.errors import CiabError, RuntimeRejected, RuntimeUnavailable, StepFailed
from ciab.core.machine import Machine, MachineState
from ciab.core.sandbox import Failure, Sandbox
from ciab.core.states import State as S

Mover = Callable[[Sandbox, Work], Awaitable[Sandbox]]


async def begin(sandbox: Sandbox, work: Work) -> Sandbox:
    """Decide where it will live and how it is reached: later changes of the configuration do not move it."""
    try:
        chosen = work.ports.site_of(sandbox.spec)
    except CiabError as refused:
        # it was fine when it was asked for; the configuration has changed since
        return sandbox.to(S.TERMINATING, Failure("begin", refused.code, refused.message, refused.hint))
    return replace(sandbox.to(S.CREATING), site=chosen)


async def stop(sandbox: Sandbox, work: Work) -> Sandbox:
    """Stop the machine and keep its disk."""
    return (await _stopped(sandbox, work)).to(S.STOPPED)


async def start(sandbox: Sandbox, work: Work) -> Sandbox:
    """Boot it again, at whatever address it gets. A failure stops it, disk intact, and says why."""
    limits = work.ports.limits
    try:
        sandbox = await attempt(START, start_machine, sandbox, work, limits.launch)
        sandbox = await attempt(START, await_running, sandbox, work, limits.ready)
        sandbox = await attempt(LOG_IN, await_guest, sandbox, work, limits.login)
    except StepFailed as failed:
        return (await _stopped(sandbox, work)).to(S.STOPPED, failure_of(failed))
    return replace(sandbox.to(S.RUNNING), failure=None)


async def stop_machine(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Ask once; asking again is no error."""
    await ports.connections.close(sandbox.id)
    await ports.machines.stop(await _machine(sandbox, ports))
    return sandbox


async def await_stopped(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Retried until the machine is stopped."""
    machine = await _machine(sandbox, ports)
    if machine.state is not MachineState.STOPPED:
        raise RuntimeUnavailable(f"machine {machine.id} is still {machine.state}")
    return replace(sandbox, machine=machine)


async def start_machine(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Ask once; asking again is no error. A machine that is still stopping is waited for."""
    machine = await _machine(sandbox, ports)
    if machine.state is MachineState.STOPPING:
        raise RuntimeUnavailable(f"machine {machine.id} is still stopping")
    await ports.machines.start(machine)
    return sandbox


async def await_running(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Retried until the machine runs and has its address, which may be a new one."""
    machine = await _machine(sandbox, ports)
    if machine.state is MachineState.RUNNING and address(machine, sandbox):
        return replace(sandbox, machine=machine)
    raise RuntimeUnavailable(f"machine {machine.id} is still {machine.state}")


async def _stopped(sandbox: Sandbox, work: Work) -> Sandbox:
    limits = work.ports.limits
    sandbox = await attempt(STOP, stop_machine, sandbox, work, limits.launch)
    return await attempt(STOP, await_stopped, sandbox, work, limits.launch)


async def _machine(sandbox: Sandbox, ports: Ports) -> Machine:
    machine = await ports.machines.find(sandbox.id, site(sandbox).place)
    if machine is None:
        raise RuntimeUnavailable(f"the machine of sandbox {sandbox.name} is not visible")
    if machine.state in (MachineState.ENDING, MachineState.ENDED):
        raise RuntimeRejected(
            f"machine {machine.id} has been terminated: {machine.reason or 'no reason was given'}",
            hint="delete the sandbox; its disk is gone",
        )
    return machine


STOP = Step("stop_machine", stop_machine, pace=WATCHING)
START = Step("start_machine", start_machine, pace=WATCHING)
LOG_IN = Step("start_machine", await_guest, pace=KNOCKING, check=still_alive)


def movers_of(steps: Sequence[Step]) -> Mapping[S, Mover]:
    """What drives each moving state, with these steps as the pipeline."""

    async def create(sandbox: Sandbox, work: Work) -> Sandbox:
        return await provision(sandbox, work, steps)

    async def clean_up(sandbox: Sandbox, work: Work) -> Sandbox:
        # a failed creation, a cancel, a crash and a delete all end here
        sandbox = await unwind(sandbox, work, steps)
        return sandbox.to(S.FAILED if sandbox.failure else S.TERMINATED)

    return {
        S.PENDING: begin,
        S.CREATING: create,
        S.STOPPING: stop,
        S.STARTING: start,
        S.TERMINATING: clean_up,
    }


MOVERS = movers_of(STEPS)
