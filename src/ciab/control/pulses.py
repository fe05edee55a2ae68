"""The heartbeat to running machines: it keeps them from ending themselves and tells what goes on there."""

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, datetime

from ciab.control.activity import Activity
from ciab.control.guarded import guarded
from ciab.control.reach import target_of, with_environment
from ciab.control.work import Ports
from ciab.core.errors import CiabError
from ciab.core.guest import Command, Pulse
from ciab.core.ids import SandboxId
from ciab.core.journal import Noted
from ciab.core.sandbox import Held, Sandbox
from ciab.core.states import State

log = logging.getLogger(__name__)

BUSY = 0.01
"""The part of one core from which a machine's own processes count as use; a daemon that waits needs less."""
TICK = 1.0
"""Seconds between two looks at whose pulse is due."""
AT_ONCE = 16
"""Pulses under way together: each is one command. As many again of machines that were silent last time."""
PATIENCE = 20.0
"""Seconds for one pulse."""
SPOT_EVERY = 5.0
"""A spot machine is announced to end two minutes before."""
GRACE_COMMAND_SECS = 100.0
"""For the user's last command on a spot machine; EC2 gives 120 s in all."""


class Pulses:
    """Beats for every sandbox that needs it, as often as it needs it; `due` ones run beside each other."""

    def __init__(self, ports: Ports, activity: Activity) -> None:
        self._ports = ports
        self._activity = activity
        self._watched: dict[SandboxId, Sandbox] = {}
        self._next: dict[SandboxId, float] = {}
        self._felt: dict[SandboxId, float] = {}
        self._under_way: set[SandboxId] = set()
        self._warned: set[SandboxId] = set()
        self._silent: set[SandboxId] = set()
        """Those that did not answer last time."""
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._slots_of_silent = asyncio.Semaphore(AT_ONCE)

    def watch(self, sandboxes: Collection[Sandbox]) -> None:
        """From now on these are looked after, and no others."""
        self._watched = {sandbox.id: sandbox for sandbox in sandboxes if has_pulse(sandbox)}
        for sandbox_id in self._next.keys() - self._watched.keys():
            self._next.pop(sandbox_id)
            self._felt.pop(sandbox_id, None)
        self._silent &= self._watched.keys()

    def felt_within(self, sandbox_id: SandboxId, seconds: float) -> bool:
        """Whether the last pulse is not older than that: nobody knows if a machine out of reach is idle."""
        felt = self._felt.get(sandbox_id)
        return felt is not None and self._ports.ticks() - felt <= seconds

    async def run(self) -> None:
        """Beat until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                now = self._ports.ticks()
                for sandbox in list(self._watched.values()):
                    every = self.interval(sandbox)
                    if every and sandbox.id not in self._under_way and self._next.get(sandbox.id, now) <= now:
                        self._next[sandbox.id] = now + every
                        self._under_way.add(sandbox.id)
                        group.create_task(
                            guarded("pulse", self._beat(sandbox.id)), name=f"pulse {sandbox.id}"
                        )
                await self._ports.sleep(TICK)

    def interval(self, sandbox: Sandbox) -> float:
        """Seconds between two pulses; 0: it needs none."""
        policy = self._ports.policy
        wanted = []
        if sandbox.site and (patience := sandbox.site.orphan_timeout):
            wanted.append(min(max(patience / 5, TICK), 300.0))
        if idle_after := policy.idle_after(sandbox.spec):
            wanted.append(min(max(idle_after / 5, TICK), 30.0))
        if _is_spot(sandbox):
            wanted.append(SPOT_EVERY)
        return min(wanted, default=0.0)

    async def _beat(self, sandbox_id: SandboxId) -> None:
        try:
            # each that does not answer holds its slot for long: those that do must not wait for them
            async with self._slots_of_silent if sandbox_id in self._silent else self._slots:
                # as it is now: since the last round its machine may have stopped, or have another address
                sandbox = await self._ports.store.get(sandbox_id)
                pulse = await self._pulse(sandbox) if has_pulse(sandbox) else None
            if pulse:
                await self._heed(sandbox, pulse)
        finally:
            self._under_way.discard(sandbox_id)

    async def _pulse(self, sandbox: Sandbox) -> Pulse | None:
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await self._ports.connections.connect(await target_of(sandbox, self._ports))
                pulse = await connection.care.pulse(spot=_is_announced(sandbox))
        except (CiabError, TimeoutError) as trouble:
            # an unreachable machine changes no state; who uses it is told then
            log.info("no pulse", extra={"action": "no_pulse", "sandbox": sandbox.id, "why": str(trouble)})
            self._silent.add(sandbox.id)
            return None
        self._silent.discard(sandbox.id)
        self._felt[sandbox.id] = self._ports.ticks()
        return pulse

    async def _heed(self, sandbox: Sandbox, pulse: Pulse) -> None:
        if pulse.over_seconds and pulse.cpu_seconds / pulse.over_seconds >= BUSY:
            self._activity.touch(sandbox.id)
        if pulse.interruption and sandbox.id not in self._warned:
            self._warned.add(sandbox.id)
            await self._last_words(sandbox, pulse.interruption)

    async def _last_words(self, sandbox: Sandbox, at: str) -> None:
        """Say that the provider takes the machine back, and run what the user wanted done before."""
        note = self._ports.store.note
        taken = f"the provider takes this spot machine back at {at}"
        await note(sandbox.id, Noted("spot_interruption", taken, shown=True))
        argv = sandbox.spec.ec2.spot_grace_command
        if not argv:
            return
        now = self._ports.billing.wall_of(self._ports.billing.now())
        command = Command(argv, timeout=_seconds_until(at, now))
        try:
            connection = await self._ports.connections.connect(await target_of(sandbox, self._ports))
            ran = await connection.guest.run(with_environment(sandbox, command), limit_bytes=64 * 1024)
            end = "was cut off" if ran.timed_out else f"ended with {ran.exit_code}"
        except CiabError as fault:
            end = f"could not be run: {fault.message}"
        await note(sandbox.id, Noted("spot_grace_command", f"the grace command {end}", shown=True))


_UP = frozenset({State.CREATING, State.RUNNING, State.PAUSING, State.STOPPING, State.STARTING})
"""States in which a machine may run for longer than it waits for us: scripts take long, and what the
provider refuses to stop goes on."""


def has_pulse(sandbox: Sandbox) -> bool:
    """Whether its machine may be up, at an address that is known."""
    frozen = sandbox.state is State.PAUSED and sandbox.held is Held.FROZEN
    if not (frozen or sandbox.state in _UP) or sandbox.machine is None or sandbox.site is None:
        return False
    login = sandbox.site.login
    return bool(sandbox.machine.public_ip if login.address == "public" else sandbox.machine.private_ip)


def _is_spot(sandbox: Sandbox) -> bool:
    return sandbox.machine is not None and sandbox.machine.spot


def _is_announced(sandbox: Sandbox) -> bool:
    """Whether the machine is told of its end. Machines of the local region see the metadata service of their
    host, if it has one: what that says is not about them."""
    local = sandbox.site is not None and sandbox.site.place.backend == "local"
    return _is_spot(sandbox) and not local


def _seconds_until(at: str, now: datetime) -> float:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return GRACE_COMMAND_SECS
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds() - 5.0, 5.0), GRACE_COMMAND_SECS)
