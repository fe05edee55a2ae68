"""Use cases: they record intent and wake the supervisor; they never wait for a machine."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from ciab.control.costs import Costs
from ciab.control.supervisor import Supervisor
from ciab.control.work import Ports
from ciab.core.errors import Conflict, InvalidRequest, InvalidState, StaleVersion
from ciab.core.ids import SandboxId
from ciab.core.ports import Once
from ciab.core.sandbox import Held, Sandbox
from ciab.core.spec import Spec
from ciab.core.states import State

Change = Callable[[Sandbox], Sandbox]
"""From a sandbox as it is to what it shall be; raises InvalidState when that cannot be."""


class Sandboxes:
    """Create, recover, delete, start, stop, pause and resume."""

    def __init__(
        self,
        ports: Ports,
        supervisor: Supervisor,
        costs: Costs,
        *,
        agents: Collection[str],
        clock: Callable[[], datetime],
        new_id: Callable[[], SandboxId],
        new_name: Callable[[], str],
    ) -> None:
        self._ports = ports
        self._store = ports.store
        self._policy = ports.policy
        self._supervisor = supervisor
        self._costs = costs
        self._agents = agents
        self._clock = clock
        self._new_id = new_id
        self._new_name = new_name

    async def create(self, spec: Spec, name: str | None, once: Once | None = None) -> Sandbox:
        """A new sandbox in `pending`, or the one that this `once` made before.

        Raises InvalidRequest for an agent that this release does not run and for what the runtime could
        never launch, ConfigError for a key pair that cannot be used, BudgetExceeded, and Conflict for a
        taken name.
        """
        return await self._create(spec, name or self._new_name(), once, None)

    async def recover(self, reference: str, name: str | None, once: Once | None = None) -> Sandbox:
        """A new sandbox from the spec of one that has ended, under its name unless another is given; where
        that is taken meanwhile, under a new one.

        Raises as `create` does, and InvalidState for one that has not ended.
        """
        lost = await self._store.lookup(reference)
        if lost.live:
            raise InvalidState(
                f"sandbox {lost.name} is {lost.state}; only what has ended can be made anew",
                hint="its machine may still be there: delete it first, or create another with the same spec",
            )
        try:
            return await self._create(lost.spec, name or lost.name, once, lost.id)
        except Conflict:
            if name:
                raise
            # repeated, `once` gives the one that was made, whatever its name
            return await self._create(lost.spec, self._new_name(), once, lost.id)

    async def delete(self, reference: str) -> Sandbox:
        """Record that its user wants it to end. Deleting what is ending or has ended is no error.

        `release` of the answer says that its machine is to be stopped and left to its user.
        """
        sandbox = await self._store.lookup(reference)
        return await self.intend(
            sandbox.id, lambda one: _deleted(one, release=not self._policy.terminate_on_delete)
        )

    async def start(self, reference: str) -> Sandbox:
        """Record that a stopped sandbox shall run. Raises InvalidState from any other state, and
        BudgetExceeded."""
        sandbox = await self._store.lookup(reference)
        await self._affordable(sandbox, State.STOPPED)
        return await self.intend(
            sandbox.id, lambda one: _from(State.STOPPED, one, "resume it").to(State.STARTING)
        )

    async def stop(self, reference: str, reason: str | None = None) -> Sandbox:
        """Record that a running or paused sandbox shall stop. Raises InvalidState from any other state."""
        sandbox = await self._store.lookup(reference)
        return await self.intend(sandbox.id, lambda one: _stoppable(one.to(State.STOPPING, reason=reason)))

    async def pause(self, reference: str) -> Sandbox:
        """Record that a running sandbox shall pause, in the configured way. Raises InvalidState from any
        other state."""
        sandbox = await self._store.lookup(reference)
        return await self.intend(
            sandbox.id, lambda one: self.paused(one, freeze=not self._policy.stop_on_pause)
        )

    async def resume(self, reference: str) -> Sandbox:
        """Record that a paused sandbox shall run again. Raises InvalidState from any other state, and
        BudgetExceeded."""
        sandbox = await self._store.lookup(reference)
        await self._affordable(sandbox, State.PAUSED)
        return await self.intend(
            sandbox.id, lambda one: _from(State.PAUSED, one, "start it").to(State.STARTING)
        )

    async def resumed(self, sandbox: Sandbox) -> Sandbox:
        """Resume it and wait until it runs, or is back where it was."""
        await self._supervisor.until_rest(sandbox.id)
        with suppress(InvalidState):  # somebody else was quicker, or it is no longer paused
            await self.resume(sandbox.id)
        await self._supervisor.until_rest(sandbox.id)
        return await self._store.get(sandbox.id)

    def paused(self, sandbox: Sandbox, *, freeze: bool = False, reason: str | None = None) -> Sandbox:
        """The sandbox on its way to `paused`. What cannot be stopped cannot be paused so."""
        moved = sandbox.to(State.PAUSING, reason=reason)
        if freeze:
            return replace(moved, held=Held.FROZEN)
        keeps = self._policy.hibernate_on_pause and sandbox.machine and sandbox.machine.hibernates
        return replace(_stoppable(moved), held=Held.HIBERNATED if keeps else Held.STOPPED, boot=None)

    async def intend(self, sandbox_id: SandboxId, change: Change) -> Sandbox:
        """Save the change and wake the sandbox's driver, however often somebody else saves it meanwhile."""
        sandbox = await self.record(sandbox_id, change)
        self._supervisor.wake(sandbox_id)
        return sandbox

    async def record(self, sandbox_id: SandboxId, change: Change) -> Sandbox:
        """Save the change only; whoever calls this wakes the driver later."""
        while True:
            sandbox = await self._store.get(sandbox_id)
            changed = change(sandbox)
            if changed is sandbox:
                return sandbox
            try:
                return await self._store.save(changed)
            except StaleVersion:
                continue

    async def _create(self, spec: Spec, name: str, once: Once | None, lost: SandboxId | None) -> Sandbox:
        if spec.agent_provider not in self._agents:
            raise InvalidRequest(
                f"agent provider {spec.agent_provider!r} is not available in this release",
                hint=f"available: {', '.join(sorted(self._agents))}",
            )
        lifetime = self._policy.lifetime(spec)
        if key_pair := self._ports.site_of(spec).login.key_pair:
            await self._ports.named_key(key_pair)
        await self._costs.check_new(spec)
        now = self._clock()
        expires_at = self._ports.steady.now() + timedelta(seconds=lifetime) if lifetime else None
        new = Sandbox(
            self._new_id(), name, spec, State.PENDING, now, now, expires_at=expires_at, recovered_from=lost
        )
        sandbox = await self._store.add(new, once)
        self._supervisor.wake(sandbox.id)
        return sandbox

    async def _affordable(self, sandbox: Sandbox, state: State) -> None:
        if sandbox.state is state:  # else it is not the money that is in the way
            await self._costs.check_on(sandbox)


def ended(sandbox: Sandbox, reason: str | None = None) -> Sandbox:
    """The sandbox on its way to its end, or as it is when it is there already."""
    if sandbox.state is State.TERMINATING or not sandbox.live:
        return sandbox
    return sandbox.to(State.TERMINATING, reason=reason)


def _deleted(sandbox: Sandbox, *, release: bool) -> Sandbox:
    on_its_way = ended(sandbox)
    spot = sandbox.machine is not None and sandbox.machine.spot
    if release and sandbox.ran and not spot and on_its_way is not sandbox:
        return replace(on_its_way, release=True)
    return on_its_way


def _stoppable(sandbox: Sandbox) -> Sandbox:
    if sandbox.machine and sandbox.machine.spot:
        raise InvalidState(
            f"sandbox {sandbox.name} is a spot machine, which EC2 cannot stop",
            hint="delete it, or create it with --no-spot",
        )
    return sandbox


def _from(state: State, sandbox: Sandbox, other: str) -> Sandbox:
    """A sandbox that may go on to `starting`, if it may at all: the one verb is not for the other's state."""
    if sandbox.state in (State.PAUSED, State.STOPPED) and sandbox.state is not state:
        raise InvalidState(f"sandbox {sandbox.name} is {sandbox.state}, not {state}", hint=other)
    return sandbox
