"""The orderly end: nothing billable is left behind, and what could not be done is named."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ciab.control.listing import every
from ciab.control.pulses import has_pulse
from ciab.control.reach import target_of
from ciab.control.reaper import Reaper, Verdict
from ciab.control.sandboxes import Sandboxes, ended
from ciab.control.supervisor import Supervisor
from ciab.control.work import Ports
from ciab.core.errors import CiabError, InvalidState
from ciab.core.ids import SandboxId
from ciab.core.sandbox import Held, Sandbox
from ciab.core.spec import Persistence
from ciab.core.states import LIVE, State

log = logging.getLogger(__name__)

DISARM_SECS = 10.0
"""For one machine to be told that nobody will look after it for a while."""


@dataclass(frozen=True, slots=True)
class Left:
    """What an end could not do, in words for the operator."""

    what: str
    why: str


async def intend_end(ports: Ports, sandboxes: Sandboxes) -> Sequence[SandboxId]:
    """Save that every ephemeral sandbox is to terminate and every persistent one to stop; drive nothing yet.

    Gives those whose drivers are to be woken. An end that is cut off after this finishes at the next start.
    """
    intended: list[SandboxId] = []
    for sandbox in await every(ports.store, LIVE):
        goal = _goal(sandbox)
        if goal is None or sandbox.state is goal:
            continue
        try:
            await sandboxes.record(sandbox.id, _towards(goal))
            intended.append(sandbox.id)
        except InvalidState as moved:
            log.info("intent came too late", extra={"action": "intent_late", "reason": moved.message})
    return intended


async def close_down(
    ports: Ports,
    sandboxes: Sandboxes,
    supervisor: Supervisor,
    reaper: Reaper,
    *,
    intended: Collection[SandboxId],
    seconds: float,
) -> Sequence[Left]:
    """Carry out what `intend_end` saved, within `seconds`; then look by tag for machines that no live
    sandbox has. Gives what could not be done."""
    strays: list[Left] = []
    try:
        async with asyncio.timeout(seconds):
            while intended or supervisor.driven:
                for sandbox_id in intended:
                    supervisor.wake(sandbox_id)
                await supervisor.rest()
                # a persistent sandbox may have become running only now
                intended = await intend_end(ports, sandboxes)
            verdicts, blind = await reaper.at_end()
            strays = [_stray(one) for one in verdicts if _stays(one)]
            strays += [Left("machines that no sandbox has", why) for why in blind]
    except TimeoutError:
        log.warning("the end took too long", extra={"action": "end_timed_out"})
    return [*[_left(sandbox) for sandbox in await every(ports.store, LIVE) if not _at_rest(sandbox)], *strays]


def _goal(sandbox: Sandbox) -> State | None:
    if sandbox.spec.persistence is Persistence.EPHEMERAL or not sandbox.ran:
        return State.TERMINATING
    frozen = sandbox.state is State.PAUSED and sandbox.held is Held.FROZEN
    return State.STOPPING if sandbox.state is State.RUNNING or frozen else None


def _towards(goal: State) -> Callable[[Sandbox], Sandbox]:
    return ended if goal is State.TERMINATING else lambda sandbox: sandbox.to(goal)


def _at_rest(sandbox: Sandbox) -> bool:
    stopped = sandbox.state is State.STOPPED
    paused = sandbox.state is State.PAUSED and sandbox.held is not Held.FROZEN
    return sandbox.spec.persistence is Persistence.PERSISTENT and (stopped or paused)


_MOVED = frozenset({State.CREATING, State.PAUSING, State.STOPPING, State.STARTING})
"""Between two states, in one of which the machine runs: as nobody goes on with it now, it may for long."""


async def disarm(ports: Ports) -> Sequence[Left]:
    """Tell every machine that may run and has a switch not to end itself while nobody looks after it.

    Gives those that could not be told.
    """
    told = await asyncio.gather(
        *(
            _disarm(sandbox, sandbox.site.orphan_timeout, ports)
            for sandbox in await every(ports.store, LIVE)
            if sandbox.site and sandbox.site.orphan_timeout
            if has_pulse(sandbox) or sandbox.state in _MOVED
        )
    )
    return [left for left in told if left]


async def _disarm(sandbox: Sandbox, patience: float, ports: Ports) -> Left | None:
    try:
        async with asyncio.timeout(DISARM_SECS):
            connection = await ports.connections.connect(await target_of(sandbox, ports))
            await connection.care.disarm()
    except (CiabError, TimeoutError) as trouble:
        why = trouble.message if isinstance(trouble, CiabError) else "its machine did not answer in time"
        hours = f"{patience / 3600:.1f} h"
        return Left(
            f"sandbox {sandbox.name} ({sandbox.id})",
            f"it could not be told to wait, and ends itself {hours} after it last heard of us: {why}",
        )
    return None


def _stays(verdict: Verdict) -> bool:
    """Whether its operator should know; what was spared for its own sake is as they wanted it."""
    wanted = verdict.remain.keep or verdict.remain.build_id is not None
    return verdict.action in ("failed", "reported") or (verdict.action == "spared" and not wanted)


def _stray(verdict: Verdict) -> Left:
    remain = verdict.remain
    return Left(f"{remain.kind} {remain.id} in {remain.region}", verdict.reason)


def _left(sandbox: Sandbox) -> Left:
    machine = f", machine {sandbox.machine.id}" if sandbox.machine else ""
    return Left(
        f"sandbox {sandbox.name} ({sandbox.id}{machine})",
        f"still {sandbox.state}; the next start of the server goes on with it",
    )
