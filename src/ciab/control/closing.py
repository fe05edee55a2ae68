"""The orderly end: nothing billable is left behind, and what could not be done is named."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ciab.control.listing import every
from ciab.control.sandboxes import Sandboxes
from ciab.control.supervisor import Supervisor
from ciab.control.work import Ports
from ciab.core.errors import CiabError, InvalidState, SandboxNotFound
from ciab.core.ids import SandboxId
from ciab.core.machine import Machine, Place
from ciab.core.sandbox import Sandbox
from ciab.core.spec import Persistence
from ciab.core.states import LIVE, State

log = logging.getLogger(__name__)


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
            await sandboxes.record(sandbox.id, goal)
            intended.append(sandbox.id)
        except InvalidState as moved:
            log.info("intent came too late", extra={"action": "intent_late", "reason": moved.message})
    return intended


async def close_down(
    ports: Ports,
    sandboxes: Sandboxes,
    supervisor: Supervisor,
    *,
    intended: Collection[SandboxId],
    places: Collection[Place],
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
            for place in places:
                strays += await _sweep(ports, place)
    except TimeoutError:
        log.warning("the end took too long", extra={"action": "end_timed_out"})
    return [*[_left(sandbox) for sandbox in await every(ports.store, LIVE) if not _at_rest(sandbox)], *strays]


def _goal(sandbox: Sandbox) -> State | None:
    if sandbox.spec.persistence is Persistence.EPHEMERAL or not sandbox.ran:
        return State.TERMINATING
    return State.STOPPING if sandbox.state is State.RUNNING else None


def _at_rest(sandbox: Sandbox) -> bool:
    return sandbox.spec.persistence is Persistence.PERSISTENT and sandbox.state in (
        State.STOPPED,
        State.PAUSED,
    )


async def _sweep(ports: Ports, place: Place) -> list[Left]:
    """End machines of sandboxes that the database knows as ended; name those it does not know."""
    left: list[Left] = []
    try:
        for machine in await ports.machines.owned(place.region):
            left += await _end_stray(ports, place, machine)
    except CiabError as fault:
        left.append(Left(f"machines in {place.region}", fault.message))
    return left


async def _end_stray(ports: Ports, place: Place, machine: Machine) -> list[Left]:
    try:
        sandbox = await ports.store.get(machine.sandbox_id)
    except SandboxNotFound:
        return [Left(f"machine {machine.id} in {place.region}", "no sandbox of this database has it")]
    if not sandbox.live:
        log.warning(
            "stray machine ended",
            extra={"action": "stray_ended", "machine": machine.id, "sandbox": sandbox.id},
        )
        await ports.machines.terminate(sandbox.id, place, ports.attempts)
    return []


def _left(sandbox: Sandbox) -> Left:
    machine = f", machine {sandbox.machine.id}" if sandbox.machine else ""
    return Left(
        f"sandbox {sandbox.name} ({sandbox.id}{machine})",
        f"still {sandbox.state}; the next start of the server goes on with it",
    )
