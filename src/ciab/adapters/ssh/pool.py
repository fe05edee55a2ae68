"""Connections by sandbox: opened once however many ask, kept alive, opened anew after a drop."""

import asyncio
from dataclasses import dataclass

import asyncssh

from ciab.adapters.ssh.care import SshCare
from ciab.adapters.ssh.guest import SshGuest
from ciab.adapters.ssh.login import log_in
from ciab.adapters.ssh.sftp import SftpFiles
from ciab.core.errors import GuestUnreachable
from ciab.core.guest import Target
from ciab.core.ids import SandboxId

CLOSE_SECONDS = 2


class SshConnection:
    """One login. All commands share one session and all files another, far below sshd's ten."""

    def __init__(self, ssh: asyncssh.SSHClientConnection) -> None:
        self.guest = SshGuest(ssh)
        self.care = SshCare(self.guest)
        self.files = SftpFiles(ssh)
        self._ssh = ssh

    @property
    def closed(self) -> bool:
        return self._ssh.is_closed()

    async def close(self) -> None:
        """End the session of the commands, their trees with it, and log out."""
        self._ssh.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ssh.wait_closed()
        except TimeoutError:
            self._ssh.abort()


@dataclass(frozen=True, slots=True)
class _Login:
    """A login that is under way or done."""

    target: Target
    task: asyncio.Task[SshConnection]

    def usable(self, target: Target) -> bool:
        if self.target != target or self.task.cancelled():
            return False
        return not self.task.done() or (self.task.exception() is None and not self.task.result().closed)


class Pool:
    """The port Connections. Owns its logins: one that is begun goes on when those who asked for it leave."""

    def __init__(self) -> None:
        self._logins: dict[SandboxId, _Login] = {}

    async def connect(self, target: Target) -> SshConnection:
        """The sandbox's connection; another target (a new address, say) replaces it."""
        login = self._logins.get(target.sandbox_id)
        if login is None or not login.usable(target):
            if login is not None:
                await self.close(target.sandbox_id)
            login = self._logins.get(target.sandbox_id)
        if login is None:
            login = _Login(target, asyncio.create_task(_connect(target)))
            login.task.add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )  # seen, whoever left
            self._logins[target.sandbox_id] = login
        if not login.task.done():
            await asyncio.wait([login.task])
        if login.task.cancelled():
            raise GuestUnreachable("the connection to the machine was closed while it was being opened")
        return login.task.result()

    async def close(self, sandbox_id: SandboxId) -> None:
        """Close the sandbox's connection, if there is one; a login under way is given up."""
        login = self._logins.pop(sandbox_id, None)
        if login is not None:
            await _end(login)

    async def close_all(self) -> None:
        """Close every connection."""
        logins, self._logins = list(self._logins.values()), {}
        async with asyncio.TaskGroup() as group:
            for login in logins:
                group.create_task(_end(login))


async def _connect(target: Target) -> SshConnection:
    return SshConnection(await log_in(target))


async def _end(login: _Login) -> None:
    login.task.cancel()  # no effect on one that is done
    await asyncio.wait([login.task])
    if not login.task.cancelled() and login.task.exception() is None:
        await login.task.result().close()
