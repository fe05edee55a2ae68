"""The inside of a machine, by every implementation of the ports Connections, Guest and Files."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from ciab.adapters.ssh.pool import Pool
from ciab.core.guest import Command, Target
from ciab.core.ids import SandboxId
from ciab.core.ports import Care, Connections, Files, Guest
from ciab.core.secret import Secret
from ciab.testing.guest import FakeConnections
from tests.sshd import Sshd


@dataclass
class Inside:
    """An open connection, and a folder of the test's own that holds nothing but a FIFO."""

    connections: Connections
    target: Target
    guest: Guest
    files: Files
    folder: str
    real: bool


@dataclass
class Cared:
    """A machine that care is taken of; `felt` tells what its dead-man's switch was last told."""

    connections: Connections
    target: Target
    guest: Guest
    care: Care
    felt: Callable[[], Awaitable[str]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Inside]:
    """One in memory."""
    connections = FakeConnections()
    target = Target(SandboxId(str(uuid4())), "192.0.2.1", 22, "ubuntu", "ssh-ed25519 AAAA", Secret("key"))
    connection = await connections.connect(target)
    connection.files.make_folder("/box")
    connection.files.make_fifo("/box/fifo")
    yield Inside(connections, target, connection.guest, connection.files, "/box", real=False)


@asynccontextmanager
async def over_ssh(machine: Sshd, folder: Path) -> AsyncIterator[Inside]:
    """One behind a real sshd."""
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    pool = Pool()
    try:
        connection = await pool.connect(machine.target)
        yield Inside(pool, machine.target, connection.guest, connection.files, str(folder), real=True)
    finally:
        await pool.close_all()


@asynccontextmanager
async def cared_in_memory() -> AsyncIterator[Cared]:
    """One in memory."""
    connections = FakeConnections()
    target = Target(SandboxId(str(uuid4())), "192.0.2.1", 22, "ubuntu", "ssh-ed25519 AAAA", Secret("key"))
    connection = await connections.connect(target)

    async def felt() -> str:
        return "off" if connection.care.disarmed else str(connection.care.beats)

    yield Cared(connections, target, connection.guest, connection.care, felt)


@asynccontextmanager
async def cared_over_ssh(target: Target, heartbeat: str) -> AsyncIterator[Cared]:
    """One behind an SSH server; its guardian, if it has one, looks at the file `heartbeat`."""
    pool = Pool()
    try:
        connection = await pool.connect(target)

        async def felt() -> str:
            ran = await connection.guest.run(Command(("cat", heartbeat)), limit_bytes=1000)
            assert ran.exit_code == 0, ran.stderr
            return ran.stdout.decode().strip()

        yield Cared(pool, target, connection.guest, connection.care, felt)
    finally:
        await pool.close_all()
