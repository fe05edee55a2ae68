"""Comparing sandboxes with what the provider shows of their machines."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from ciab.control.evidence import with_evidence
from ciab.control.fate import OVER, end_of, stop_of
from ciab.control.metering import Bill, metered
from ciab.control.pulses import PATIENCE, has_pulse
from ciab.control.reach import target_of
from ciab.control.steps import site
from ciab.control.work import Ports
from ciab.core.errors import CiabError, MachineEnded, RuntimeFault, StaleVersion
from ciab.core.guest import Command
from ciab.core.ids import SandboxId
from ciab.core.machine import Machine, MachineState
from ciab.core.sandbox import Failure, Held, Sandbox
from ciab.core.states import MOVING, State

log = logging.getLogger(__name__)

LOOK_SECS = 20.0
"""For one look: a region that hangs does not hold up what is done about the others."""

_DOWN = frozenset({MachineState.STOPPING, MachineState.STOPPED})
_UP = frozenset({MachineState.PENDING, MachineState.RUNNING})


class Reconciler:
    """What it has seen once it only believes when it sees it again, with nothing else in between: lookups
    lag behind. Ends are believed at once, they never come back; absence only after the grace period, and
    not of what answers. A lookup error changes nothing."""

    def __init__(self, ports: Ports, wake: Callable[[SandboxId], None]) -> None:
        self._ports = ports
        self._wake = wake
        self._missing: dict[SandboxId, tuple[State, float]] = {}
        self._odd: dict[SandboxId, tuple[int, MachineState]] = {}

    async def compare(self, sandbox: Sandbox) -> None:
        """Look at the machine of one sandbox, and move the sandbox when that is somewhere else; one that is
        being moved only when it is gone, which its mover would wait for in vain."""
        try:
            async with asyncio.timeout(LOOK_SECS):
                machine = await self._ports.machines.find(sandbox.id, site(sandbox).place)
        except (RuntimeFault, TimeoutError) as fault:
            log.info("no look", extra={"action": "look_failed", "sandbox": sandbox.id, "why": str(fault)})
            return
        changed = await self._changed(sandbox, machine)
        if changed is None:
            return
        try:
            saved = await self._ports.store.save(changed)
        except StaleVersion:
            return  # somebody moves it: the next look tells
        if saved.state is not sandbox.state:
            log.warning(
                "machine was moved by somebody else",
                extra={"action": "machine_moved", "sandbox": sandbox.id, "state": saved.state},
            )
            self._wake(sandbox.id)

    async def _changed(self, sandbox: Sandbox, machine: Machine | None) -> Sandbox | None:
        """The sandbox as it shall be now; None: as it is."""
        if machine is None:
            return await self._absent(sandbox)
        self._missing.pop(sandbox.id, None)
        before = self._odd.pop(sandbox.id, None)
        if sandbox.state in MOVING:
            return None  # who moves it sees the machine too
        if machine.state in OVER:
            ended = end_of(machine)
            known = replace(sandbox, machine=machine)
            return known.to(State.TERMINATING, await with_evidence(_failure(ended), known, self._ports))
        up = sandbox.state is State.RUNNING or sandbox.held is Held.FROZEN
        if machine.state in (_DOWN if up else _UP):
            return self._odd_one(sandbox, machine, before, up=up)
        known = sandbox
        if sandbox.machine and up and _address(machine) != _address(sandbox.machine):
            known = replace(sandbox, machine=machine)
        # prices may be others than in the server's last life, or known only now
        known = metered(known, self._ports, Bill.RUNNING if up else Bill.DISK)
        return None if known is sandbox else known

    def _odd_one(
        self, sandbox: Sandbox, machine: Machine, before: tuple[int, MachineState] | None, *, up: bool
    ) -> Sandbox | None:
        """Stopped or started, and not by us: believed when it is seen for the second time."""
        if before != (sandbox.version, machine.state):
            self._odd[sandbox.id] = (sandbox.version, machine.state)
            return None
        known = replace(sandbox, machine=machine)
        if up:
            return known.to(State.STOPPING, _failure(stop_of(machine)))
        return known.to(State.STARTING, reason=f"somebody outside CIAB started machine {machine.id}")

    async def _absent(self, sandbox: Sandbox) -> Sandbox | None:
        now = self._ports.ticks()
        state, since = self._missing.get(sandbox.id, (sandbox.state, now))
        if state is not sandbox.state:  # whoever moved it has seen the machine
            since = now
        self._missing[sandbox.id] = (sandbox.state, since)
        if now - since < self._ports.policy.grace:
            return None
        if await self._answers(sandbox):
            del self._missing[sandbox.id]
            log.warning(
                "machine is not shown and answers: have its tags been taken away?",
                extra={"action": "machine_hidden", "sandbox": sandbox.id},
            )
            return None
        machine = sandbox.machine.id if sandbox.machine else "the machine"
        place = site(sandbox).place
        gone = MachineEnded(
            f"{machine} is gone: {place.region} of account {place.account} has not shown it for "
            f"{now - since:.0f} s",
            hint="somebody outside CIAB terminated it, or took its tags away: then it is left as it is, and "
            "yours; 'ciab sandbox recover' makes a new one from the same spec",
        )
        return sandbox.to(State.TERMINATING, _failure(gone))

    async def _answers(self, sandbox: Sandbox) -> bool:
        """Whether its machine is there all the same: nobody else has its host key."""
        if not has_pulse(sandbox):
            return False
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._ports.connections.connect(await target_of(sandbox, self._ports))
                await connection.guest.run(Command(("true",), workdir="/"), limit_bytes=1)
        except (CiabError, TimeoutError):
            return False
        return True


def _address(machine: Machine) -> tuple[str | None, str | None]:
    return machine.public_ip, machine.private_ip


def _failure(why: CiabError) -> Failure:
    return Failure(None, why.code, why.message, why.hint)
