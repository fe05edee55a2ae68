"""What happens in each moving state. A mover takes a sandbox and gives it in the state that follows."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from ciab.control.evidence import with_evidence
from ciab.control.machines import (
    BOOT,
    FREEZE,
    HIBERNATE,
    LOG_IN,
    START,
    STOP,
    THAW,
    await_running,
    await_stopped,
    compare_boots,
    freeze,
    look,
    remember_boot,
    start_machine,
    stop_machine,
    thaw,
)
from ciab.control.metering import Bill, metered
from ciab.control.pipeline import Step, attempt, failure_of, provision, unwind
from ciab.control.steps import STEPS, await_guest
from ciab.control.work import Work
from ciab.core.errors import CiabError, MachineEnded, StepFailed
from ciab.core.machine import MachineState
from ciab.core.sandbox import Failure, Held, Sandbox
from ciab.core.spec import Persistence
from ciab.core.states import State as S

Mover = Callable[[Sandbox, Work], Awaitable[Sandbox]]


async def begin(sandbox: Sandbox, work: Work) -> Sandbox:
    """Decide where it will live, how it is reached and when its machine gives us up: later changes of the
    configuration do not move it."""
    try:
        chosen = work.ports.site_of(sandbox.spec)
    except CiabError as refused:
        # it was fine when it was asked for; the configuration has changed since
        return sandbox.to(S.TERMINATING, Failure("begin", refused.code, refused.message, refused.hint))
    ephemeral = sandbox.spec.persistence is Persistence.EPHEMERAL
    patience = work.ports.policy.orphan_timeout if ephemeral else 0.0
    return replace(sandbox.to(S.CREATING), site=replace(chosen, orphan_timeout=patience))


async def pause(sandbox: Sandbox, work: Work) -> Sandbox:
    """Freeze its processes, or stop its machine, as was decided when it was asked for.

    Processes that cannot be frozen leave it running, with the reason: nothing has changed then. A machine
    that runs and cannot be reached is tried again, like one that does not stop.
    """
    if sandbox.held is Held.FROZEN:
        try:
            sandbox = await attempt(FREEZE, freeze, sandbox, work, work.ports.limits.freeze)
        except StepFailed as failed:
            if isinstance(failed.cause, MachineEnded):
                raise
            if await _runs(sandbox, work):
                # some may stand still. Out of reach it is neither paused nor running: tried again later
                await attempt(THAW, thaw, sandbox, work, work.ports.limits.freeze)
                return replace(sandbox.to(S.RUNNING, failure_of(failed)), held=None)
            sandbox = await _stopped(replace(sandbox, held=Held.STOPPED), work)
    else:
        if sandbox.held is Held.HIBERNATED:
            sandbox = await attempt(HIBERNATE, remember_boot, sandbox, work, work.ports.limits.freeze)
        sandbox = await _stopped(sandbox, work)
    return replace(sandbox.to(S.PAUSED), failure=None)


async def stop(sandbox: Sandbox, work: Work) -> Sandbox:
    """Stop the machine and keep its disk."""
    return replace((await _stopped(replace(sandbox, held=None), work)).to(S.STOPPED), boot=None)


async def start(sandbox: Sandbox, work: Work) -> Sandbox:
    """Thaw it, or boot its machine again, at whatever address it gets.

    A failure leads back to where it was, with the reason: a frozen one stays frozen, a machine that was
    started is stopped, its disk intact.
    """
    frozen = sandbox.held is Held.FROZEN and await _runs(sandbox, work)
    if sandbox.held is Held.FROZEN and not frozen:
        sandbox = replace(sandbox, held=Held.STOPPED)
    try:
        if frozen:
            sandbox = await attempt(THAW, thaw, sandbox, work, work.ports.limits.freeze)
        else:
            # saved before the call: a machine that outlives this process is paid for all the same
            sandbox = await _metered(sandbox, work)
            sandbox = await _booted(sandbox, work)
    except StepFailed as failed:
        if isinstance(failed.cause, MachineEnded):
            raise
        if not frozen:
            sandbox = await _stopped(sandbox, work)
        return sandbox.to(S.PAUSED if sandbox.held else S.STOPPED, failure_of(failed))
    return replace(sandbox.to(S.RUNNING), failure=None, held=None, boot=None)


async def _metered(sandbox: Sandbox, work: Work) -> Sandbox:
    running = metered(sandbox, work.ports, Bill.RUNNING)
    return sandbox if running is sandbox else await work.ports.store.save(running)


async def _booted(sandbox: Sandbox, work: Work) -> Sandbox:
    limits = work.ports.limits
    sandbox = await attempt(START, start_machine, sandbox, work, limits.launch)
    sandbox = await attempt(BOOT, await_running, sandbox, work, limits.ready)
    sandbox = await attempt(LOG_IN, await_guest, sandbox, work, limits.login)
    return await attempt(LOG_IN, compare_boots, sandbox, work, limits.login)


async def _stopped(sandbox: Sandbox, work: Work) -> Sandbox:
    limits = work.ports.limits
    sandbox = await attempt(STOP, stop_machine, sandbox, work, limits.launch)
    return await attempt(STOP, await_stopped, sandbox, work, limits.launch)


async def _runs(sandbox: Sandbox, work: Work) -> bool:
    """Whether its machine runs: somebody else may have stopped it meanwhile."""
    seen = await attempt(START, look, sandbox, work, work.ports.limits.launch)
    return seen.machine is not None and seen.machine.state is MachineState.RUNNING


def _unless_ended(mover: Mover) -> Mover:
    """A machine that has ended meanwhile ends its sandbox, with the reason; there is nothing left to move."""

    async def move(sandbox: Sandbox, work: Work) -> Sandbox:
        try:
            return await mover(sandbox, work)
        except StepFailed as failed:
            if not isinstance(failed.cause, MachineEnded):
                raise
            why = failure_of(failed)
        except MachineEnded as ended:
            why = Failure(None, ended.code, ended.message, ended.hint)
        return sandbox.to(S.TERMINATING, await with_evidence(why, sandbox, work.ports))

    return move


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
        S.PAUSING: _unless_ended(pause),
        S.STOPPING: _unless_ended(stop),
        S.STARTING: _unless_ended(start),
        S.TERMINATING: clean_up,
    }


MOVERS = movers_of(STEPS)
