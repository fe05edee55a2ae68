"""Use cases: they record intent and wake the supervisor; they never wait for a machine."""

from collections.abc import Callable, Collection
from datetime import datetime

from ciab.control.supervisor import Supervisor
from ciab.core.errors import InvalidRequest, StaleVersion
from ciab.core.ids import SandboxId
from ciab.core.ports import Once, Store
from ciab.core.sandbox import Sandbox
from ciab.core.spec import Spec
from ciab.core.states import State


class Sandboxes:
    """Create, delete, start and stop."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        *,
        agents: Collection[str],
        check: Callable[[Spec], object],
        clock: Callable[[], datetime],
        new_id: Callable[[], SandboxId],
        new_name: Callable[[], str],
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._agents = agents
        self._check = check
        self._clock = clock
        self._new_id = new_id
        self._new_name = new_name

    async def create(self, spec: Spec, name: str | None, once: Once | None = None) -> Sandbox:
        """A new sandbox in `pending`, or the one that this `once` made before.

        Raises InvalidRequest for an agent that this release does not run and for what the runtime could
        never launch, Conflict for a taken name.
        """
        if spec.agent_provider not in self._agents:
            raise InvalidRequest(
                f"agent provider {spec.agent_provider!r} is not available in this release",
                hint=f"available: {', '.join(sorted(self._agents))}",
            )
        self._check(spec)
        now = self._clock()
        new = Sandbox(self._new_id(), name or self._new_name(), spec, State.PENDING, now, now)
        sandbox = await self._store.add(new, once)
        self._supervisor.wake(sandbox.id)
        return sandbox

    async def delete(self, reference: str) -> Sandbox:
        """Record that it shall end. Deleting what is ending or has ended is no error."""
        sandbox = await self._store.lookup(reference)
        return await self.intend(sandbox.id, State.TERMINATING)

    async def start(self, reference: str) -> Sandbox:
        """Record that a stopped sandbox shall run. Raises InvalidState from any other state."""
        sandbox = await self._store.lookup(reference)
        return await self.intend(sandbox.id, State.STARTING)

    async def stop(self, reference: str) -> Sandbox:
        """Record that a running sandbox shall stop. Raises InvalidState from any other state."""
        sandbox = await self._store.lookup(reference)
        return await self.intend(sandbox.id, State.STOPPING)

    async def intend(self, sandbox_id: SandboxId, state: State) -> Sandbox:
        """Move it to `state` and wake its driver, however often somebody else saves it meanwhile."""
        sandbox = await self.record(sandbox_id, state)
        self._supervisor.wake(sandbox_id)
        return sandbox

    async def record(self, sandbox_id: SandboxId, state: State) -> Sandbox:
        """Save the intent only; whoever calls this wakes the driver later."""
        while True:
            sandbox = await self._store.get(sandbox_id)
            if state is State.TERMINATING and (sandbox.state is state or not sandbox.live):
                return sandbox
            try:
                return await self._store.save(sandbox.to(state))
            except StaleVersion:
                continue
