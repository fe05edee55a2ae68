"""Letting a user's own key into a machine for a limited time: a line in its `authorized_keys`."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

from ciab.control.reach import Reach
from ciab.core.errors import FileMissing, GuestFault
from ciab.core.guest import Command, Target
from ciab.core.ids import SandboxId
from ciab.core.ports import Connection

AUTHORIZED_KEYS = "~/.ssh/authorized_keys"

_OURS = re.compile(r" ciab-until-(\d+)$")
_OPTIONS = 'expiry-time="{until}",restrict,pty,port-forwarding,agent-forwarding'
"""What `ssh`, `scp` and forwards need, and nothing that a later option of OpenSSH's may add."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Where to log in, and until when the key is good."""

    target: Target
    expires_at: datetime


class Access:
    """Changes each machine's file one at a time, so that two grants at once both stay."""

    def __init__(self, reach: Reach, clock: Callable[[], datetime]) -> None:
        self._reach = reach
        self._clock = clock
        self._locks: WeakValueDictionary[SandboxId, asyncio.Lock] = WeakValueDictionary()

    async def grant(self, reference: str, public_key: str, seconds: float) -> Grant:
        """Let the key's owner in for `seconds`. `public_key` is a valid line in OpenSSH's format.

        Raises as `Reach.visit` does, and GuestFault when the machine does not know the time.
        """
        async with self._reach.visit(reference) as (sandbox, connection):
            expires_at = self._clock() + timedelta(seconds=seconds)
            lock = self._locks.setdefault(sandbox.id, asyncio.Lock())
            async with lock:
                await self._authorize(connection, public_key, expires_at)
            return Grant(await self._reach.target(sandbox), expires_at)

    async def _authorize(self, connection: Connection, public_key: str, expires_at: datetime) -> None:
        until = await _in_local_time(connection, expires_at)
        kept = _still_valid(await _text(connection), self._clock())
        line = authorized_line(public_key, until, expires_at)
        content = "".join(f"{one}\n" for one in [*kept, line]).encode("utf-8", "surrogateescape")
        await connection.files.write(AUTHORIZED_KEYS, _once(content), mode=0o600)


def authorized_line(public_key: str, until: str, expires_at: datetime) -> str:
    """The line for `authorized_keys`; its comment tells us later that it is ours and when it has expired."""
    kind, key, *_ = public_key.split()
    options = _OPTIONS.format(until=until)
    return f"{options} {kind} {key} ciab-until-{int(expires_at.timestamp())}"


def _still_valid(text: str, now: datetime) -> list[str]:
    lines = text.splitlines()
    ours = [(line, _OURS.search(line)) for line in lines]
    return [line for line, found in ours if found is None or int(found[1]) > now.timestamp()]


async def _in_local_time(connection: Connection, moment: datetime) -> str:
    """sshd reads `expiry-time` in the machine's own time zone; a `Z` is understood by newer ones only."""
    argv = ("date", "-d", f"@{int(moment.timestamp())}", "+%Y%m%d%H%M%S")
    ran = await connection.guest.run(Command(argv, workdir="~"), limit_bytes=64)
    until = ran.stdout.decode("ascii", "replace").strip()
    if ran.exit_code != 0 or not until.isdigit():
        raise GuestFault("the machine's 'date' does not say when the key expires, so no key was let in")
    return until


async def _text(connection: Connection) -> str:
    pieces = []
    try:
        async for piece in connection.files.read(AUTHORIZED_KEYS):
            pieces.append(piece)
    except FileMissing:
        return ""
    return b"".join(pieces).decode("utf-8", "surrogateescape")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
