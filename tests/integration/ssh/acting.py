"""What these tests do and look at: commands, processes, a connection that can be cut."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

from ciab.adapters.ssh.pool import SshConnection
from ciab.core.guest import Command, Exit, Output, Target

LIMIT = 1 << 20


def sh(script: str, *args: str, timeout: float | None = None) -> Command:
    return Command(("sh", "-c", script, "sh", *args), timeout=timeout)


def streamed(
    connection: SshConnection, command: Command, stdin: AsyncIterator[bytes] | None = None
) -> AsyncGenerator[Output | Exit, None]:
    return cast("AsyncGenerator[Output | Exit, None]", connection.guest.stream(command, stdin))


class Mark:
    """A number of seconds that nobody else sleeps, by which a test's own processes are found."""

    def __init__(self) -> None:
        self.seconds = f"{6000 + uuid4().int % 1_000_000}.{uuid4().int % 1_000_000}"

    def pids(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdigit() else []
            except OSError:
                continue
            if words[:2] == [b"sleep", self.seconds.encode()]:
                found.append(int(folder.name))
        return found

    def count(self) -> int:
        return len(self.pids())


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for the world to become so; how long it takes is not what the test is about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Proxy:
    """A TCP proxy to a machine. asyncio sets TCP_NODELAY on its sockets, so it adds no delay of its own."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.accepted = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._to = target

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        far_reader, far_writer = await asyncio.open_connection(self._to.host, self._to.port)
        self._writers += [writer, far_writer]
        await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))

    def cut(self) -> None:
        """Break every connection at once, without a word."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


@asynccontextmanager
async def a_proxy(target: Target) -> AsyncIterator[Proxy]:
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.target = replace(target, port=server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        proxy.cut()
        server.close()
        await server.wait_closed()
