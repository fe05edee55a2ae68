"""Drives every sandbox in a moving state, one driver each. A restart simply goes on."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from ciab.control.listing import every
from ciab.control.movers import MOVERS, Mover
from ciab.control.work import Ports, Work
from ciab.core.errors import CiabError, StaleVersion
from ciab.core.ids import SandboxId
from ciab.core.journal import Noted
from ciab.core.states import MOVING, State

log = logging.getLogger(__name__)

FIRST_REST, LONGEST_REST = 1.0, 60.0
"""Seconds before a mover that could not finish is tried again."""

_DOWN = frozenset({State.TERMINATING, State.STOPPING, State.PAUSING})
"""What ends costs or lessens them does not wait behind creations."""


class Supervisor:
    """The owner of all driving tasks. `run` ends when it is cancelled; what moves then goes on next time."""

    def __init__(self, ports: Ports, movers: Mapping[State, Mover] = MOVERS) -> None:
        self._ports = ports
        self._movers = movers
        self._driven: dict[SandboxId, Work] = {}
        self._group: asyncio.TaskGroup | None = None
        self._up = asyncio.Semaphore(ports.limits.driven)
        self._down = asyncio.Semaphore(ports.limits.driven)
        self._rested = asyncio.Event()

    async def run(self, started: asyncio.Event) -> None:
        """Take up everything that is moving, then drive whatever is woken, until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for sandbox in await every(self._ports.store, MOVING):
                self.wake(sandbox.id)
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def wake(self, sandbox_id: SandboxId) -> None:
        """The sandbox's intent is new: drive it, or make its driver look again."""
        if work := self._driven.get(sandbox_id):
            work.recalled.set()
        elif self._group:
            work = self._driven[sandbox_id] = Work(self._ports)
            self._group.create_task(self._drive(sandbox_id, work), name=f"drive {sandbox_id}")

    @property
    def driven(self) -> int:
        """How many sandboxes are being driven now."""
        return len(self._driven)

    async def until_rest(self, sandbox_id: SandboxId) -> None:
        """Wait until this sandbox is not being driven."""
        if work := self._driven.get(sandbox_id):
            await work.over.wait()

    async def rest(self) -> None:
        """Wait until nothing is being driven."""
        while self._driven:
            self._rested.clear()
            await self._rested.wait()

    async def _drive(self, sandbox_id: SandboxId, work: Work) -> None:
        """Move it until it is at rest. Never ends by an error: it alarms, rests longer each time, goes on."""
        rest, alarm = FIRST_REST, None
        try:
            while True:
                work.recalled.clear()
                try:
                    moved = await self._move(sandbox_id, work, alarm)
                    rest, alarm = FIRST_REST, None
                    if not moved and not work.recalled.is_set():
                        return
                except StaleVersion:
                    continue
                except Exception as trouble:  # noqa: BLE001 - whatever it is, one sandbox never ends the rest
                    alarm = _alarm(sandbox_id, trouble)
                    await self._nap(work, rest)
                    rest = min(rest * 2, LONGEST_REST)
        finally:
            del self._driven[sandbox_id]
            work.over.set()
            self._rested.set()

    async def _move(self, sandbox_id: SandboxId, work: Work, alarm: Noted | None) -> bool:
        """One mover, and the state it leads to saved. False: nothing moves here any more."""
        sandbox = await self._ports.store.get(sandbox_id)
        if alarm:
            sandbox = await self._ports.store.save(sandbox, alarm)
        mover = self._movers.get(sandbox.state)
        if mover is None:
            return False
        slots = self._down if sandbox.state in _DOWN else self._up
        await work.unless_recalled(slots.acquire())
        try:
            await self._ports.store.save(await mover(sandbox, work))
        finally:
            slots.release()
        return True

    async def _nap(self, work: Work, seconds: float) -> None:
        with suppress(StaleVersion):
            await work.pause(seconds)


def _alarm(sandbox_id: SandboxId, trouble: Exception) -> Noted:
    """Somebody may have to act: say so in the log now, and in the journal with the next try."""
    words = trouble.message if isinstance(trouble, CiabError) else f"unexpected {type(trouble).__name__}"
    log.error(
        "sandbox does not move on",
        exc_info=None if isinstance(trouble, CiabError) else trouble,
        extra={"action": "sandbox_stuck", "sandbox": sandbox_id, "reason": words},
    )
    return Noted("sandbox_stuck", words)
