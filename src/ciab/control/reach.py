"""Reaching a running sandbox's machine: target, open connection, commands with its environment."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from ciab.control.activity import Activity
from ciab.control.work import Ports
from ciab.core.errors import CiabError, GuestUnreachable, InvalidState
from ciab.core.guest import Command, Target
from ciab.core.ids import SandboxId
from ciab.core.ports import Connection
from ciab.core.sandbox import Sandbox
from ciab.core.states import State


async def target_of(sandbox: Sandbox, ports: Ports) -> Target:
    """Address, identity and key of the sandbox's machine. Raises GuestUnreachable without an address."""
    keys = await ports.keys.get(sandbox.id)
    if sandbox.site is None or sandbox.machine is None or keys is None:
        raise CiabError(f"sandbox {sandbox.name} has no machine to connect to")
    login = sandbox.site.login
    host = sandbox.machine.public_ip if login.address == "public" else sandbox.machine.private_ip
    if host is None:
        raise GuestUnreachable(f"the machine of sandbox {sandbox.name} has no {login.address} address")
    user = keys.user or await ports.named_key(login.key_pair)
    return Target(sandbox.id, host, login.port, login.user, keys.host.public, user.private)


def with_environment(sandbox: Sandbox, command: Command) -> Command:
    """The command with the sandbox's own variables; the command's win."""
    return replace(command, env={**sandbox.spec.env_vars, **command.env})


class Reach:
    """Connections to running sandboxes. Targets are remembered per version: an exec costs no key look-up."""

    def __init__(
        self, ports: Ports, activity: Activity, resumed: Callable[[Sandbox], Awaitable[Sandbox]]
    ) -> None:
        self._ports = ports
        self._activity = activity
        self._resumed = resumed
        self._targets: dict[SandboxId, tuple[int, Target]] = {}

    @asynccontextmanager
    async def visit(self, reference: str) -> AsyncIterator[tuple[Sandbox, Connection]]:
        """The sandbox and an open connection into it; it is in use, and so not idle, until this is left.

        Raises SandboxNotFound, InvalidState when it is not running, GuestUnreachable.
        """
        async with self.use(reference) as sandbox:
            yield sandbox, await self._ports.connections.connect(await self.target(sandbox))

    @asynccontextmanager
    async def use(self, reference: str) -> AsyncIterator[Sandbox]:
        """The sandbox, running, and in use until this is left."""
        sandbox = await self._running(reference)
        with self._activity.use(sandbox.id):
            yield sandbox

    async def _running(self, reference: str) -> Sandbox:
        sandbox = await self._ports.store.lookup(reference)
        if self._ports.policy.auto_resume and _paused(sandbox):
            sandbox = await self._resumed(sandbox)
        if sandbox.state is not State.RUNNING:
            self._targets.pop(sandbox.id, None)
            why = f": {sandbox.failure.message}" if sandbox.failure else ""
            raise InvalidState(
                f"sandbox {sandbox.name} is {sandbox.state}, not running{why}", hint=_HINTS.get(sandbox.state)
            )
        return sandbox

    async def target(self, sandbox: Sandbox) -> Target:
        """Where and as whom to connect."""
        known = self._targets.get(sandbox.id)
        if known and known[0] == sandbox.version:
            return known[1]
        target = await target_of(sandbox, self._ports)
        self._targets[sandbox.id] = (sandbox.version, target)
        return target


def _paused(sandbox: Sandbox) -> bool:
    """Paused, or on its way back from it."""
    resuming = sandbox.state is State.STARTING and sandbox.held is not None
    return sandbox.state in (State.PAUSING, State.PAUSED) or resuming


_HINTS: Mapping[State, str] = {
    State.PENDING: "wait until it is running",
    State.CREATING: "wait until it is running",
    State.STARTING: "wait until it is running",
    State.STOPPING: "wait until it has stopped, then start it",
    State.STOPPED: "start it first",
    State.PAUSING: "wait until it is paused, then resume it",
    State.PAUSED: "resume it first",
    State.TERMINATING: "it is ending; create a new one",
    State.TERMINATED: "it has ended; create a new one",
    State.FAILED: "it has failed; its `failure` says why",
}
