"""Running a list of steps, and undoing it. The only code that begins, retries, ends and undoes steps."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ciab.control.evidence import with_evidence
from ciab.control.work import Limits, Ports, Work
from ciab.core.errors import CiabError, GuestUnreachable, RuntimeUnavailable, StaleVersion, StepFailed
from ciab.core.journal import StepMoved, StepStatus
from ciab.core.sandbox import Failure, Sandbox
from ciab.core.states import State

log = logging.getLogger(__name__)

Action = Callable[[Sandbox, Ports], Awaitable[Sandbox]]
Check = Callable[[Sandbox, Ports], Awaitable[None]]

WAITED_FOR = (RuntimeUnavailable, GuestUnreachable)
"""Faults that pass by themselves. No capacity is not among them: the user may want another type."""

CHECK_EVERY = 2.0
"""Seconds between two looks at whether waiting still makes sense."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two tries: the first pause, and the longest, reached by doubling."""

    first: float
    longest: float


CALLING = Pace(0.2, 5.0)
WATCHING = Pace(0.05, 0.2)
KNOCKING = Pace(0.05, 0.05)
"""A try to connect waits by itself, for as long as that may help."""


@dataclass(frozen=True, slots=True)
class Step:
    """`run` and `undo` take a sandbox and give a sandbox; both are idempotent, keyed by the sandbox's id.

    A step with an `undo` acquires something outside the guest: its call is never cut off. One without
    only waits or works inside the machine, and is left at once when the sandbox's intent changes.
    """

    name: str
    run: Action
    undo: Action | None = None
    limit: Callable[[Limits], float] = lambda limits: limits.launch
    pace: Pace = CALLING
    check: Check | None = None
    """Asked now and then while `run` is being retried; raises when waiting makes no sense any more."""
    says: Callable[[Sandbox], str | None] = lambda sandbox: None
    """One short fact for the person who watches, once the step is done."""


async def provision(sandbox: Sandbox, work: Work, steps: Sequence[Step]) -> Sandbox:
    """Run every step that is not done yet; on a step's failure move to `terminating` with the reason."""
    store = work.ports.store
    past = await store.steps(sandbox.id)
    done: tuple[StepMoved, ...] = ()  # saved with the next step's begin: each save waits for the disk
    for step in steps:
        if past.get(step.name) is StepStatus.DONE:
            continue
        sandbox = await store.save(sandbox, *done, StepMoved(step.name, StepStatus.BEGUN))
        began = work.ports.ticks()
        try:
            sandbox = await attempt(step, step.run, sandbox, work, step.limit(work.ports.limits))
        except StepFailed as failed:
            moved = StepMoved(step.name, StepStatus.FAILED, failed.message, _since(began, work))
            sandbox = await store.save(sandbox, moved)
            failure = await work.unless_recalled(with_evidence(failure_of(failed), sandbox, work.ports))
            return sandbox.to(State.TERMINATING, failure)
        done = (StepMoved(step.name, StepStatus.DONE, step.says(sandbox), _since(began, work)),)
    return (await store.save(sandbox, *done)).to(State.RUNNING)


async def unwind(sandbox: Sandbox, work: Work, steps: Sequence[Step]) -> Sandbox:
    """Undo every step ever begun, last first; a step that half ran is undone too.

    Raises StepFailed when an undo did not come to its end in time; call it again.
    """
    store = work.ports.store
    past = await store.steps(sandbox.id)
    for step in reversed(steps):
        if past.get(step.name, StepStatus.UNDONE) is StepStatus.UNDONE:
            continue
        began = work.ports.ticks()
        if step.undo:
            sandbox = await attempt(step, step.undo, sandbox, work, work.ports.limits.undo)
        sandbox = await store.save(
            sandbox, StepMoved(step.name, StepStatus.UNDONE, None, _since(began, work))
        )
    return sandbox


async def attempt(step: Step, action: Action, sandbox: Sandbox, work: Work, seconds: float) -> Sandbox:
    """Run the action, again and again with jitter while its fault is one that passes and time is left.

    Raises StepFailed from the last fault, and StaleVersion when the sandbox's intent has changed.
    """
    ports = work.ports
    deadline = ports.ticks() + seconds
    checked = ports.ticks()
    pause = step.pace.first
    while True:
        try:
            if step.undo:
                return await action(sandbox, ports)
            return await work.unless_recalled(_as_coroutine(action, sandbox, ports))
        except WAITED_FOR as fault:
            if ports.ticks() >= deadline:
                raise StepFailed(step.name, fault) from fault
            log.debug("step waits", extra={"action": "step_waits", "step": step.name, "sandbox": sandbox.id})
        except CiabError as fault:
            raise StepFailed(step.name, fault) from fault
        except StaleVersion:
            raise
        except Exception as bug:
            log.exception("step broke", extra={"action": "step_broke", "sandbox": sandbox.id})
            raise StepFailed(step.name, _unexpected(step, bug)) from bug
        if step.check and ports.ticks() - checked >= CHECK_EVERY:
            checked = ports.ticks()
            await _checked(step, step.check, sandbox, ports)
        await work.pause(pause)
        pause = min(pause * 2, step.pace.longest)


def failure_of(failed: StepFailed) -> Failure:
    """What is recorded of a failed step: the cause's code and words."""
    return Failure(failed.step, failed.cause.code, failed.message, failed.hint)


async def _checked(step: Step, check: Check, sandbox: Sandbox, ports: Ports) -> None:
    try:
        await check(sandbox, ports)
    except WAITED_FOR:
        return
    except CiabError as fault:
        raise StepFailed(step.name, fault) from fault


async def _as_coroutine(action: Action, sandbox: Sandbox, ports: Ports) -> Sandbox:
    return await action(sandbox, ports)


def _unexpected(step: Step, bug: Exception) -> CiabError:
    return CiabError(
        f"{step.name} met an error that CIAB does not know ({type(bug).__name__})",
        hint="the server's log has the details; please report it",
    )


def _since(began: float, work: Work) -> int:
    return round((work.ports.ticks() - began) * 1000)
