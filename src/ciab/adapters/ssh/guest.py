"""Commands inside a machine, through its guest program."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

import asyncssh

from ciab.adapters.ssh.errors import translated
from ciab.adapters.ssh.frames import DROP_EXCESS, MORE_STDIN, STDERR, STDOUT
from ciab.adapters.ssh.link import WINDOW, Execution, Link
from ciab.adapters.ssh.sessions import opened
from ciab.core.guest import Command, Exit, Output, Ran

PIECE = 1 << 16


class SshGuest:
    """The port Guest on one SSH connection. The guest program is started once, and again after its end."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection
        self._starting = asyncio.Lock()
        self._link: Link | None = None

    async def run(self, command: Command, stdin: bytes = b"", *, limit_bytes: int) -> Ran:
        """Run to the end; what is printed beyond the limit is dropped on the machine already."""
        link = await self._running()
        first, rest = stdin[:WINDOW], stdin[WINDOW:]
        flags = DROP_EXCESS | (MORE_STDIN if rest else 0)
        execution = link.start(command, first, credit=limit_bytes, flags=flags)
        pump = _pumping(link, execution, _pieces(rest)) if rest else None
        try:
            while not execution.ended:
                execution.news.clear()
                await execution.news.wait()
        finally:
            _leave(link, execution, pump)
        result = _result(execution)
        return Ran(
            exit_code=result.code,
            stdout=b"".join(data for kind, data in execution.output if kind == STDOUT),
            stderr=b"".join(data for kind, data in execution.output if kind == STDERR),
            duration_ms=result.duration_ms,
            timed_out=result.timed_out,
            truncated=execution.dropped,
        )

    async def stream(
        self, command: Command, stdin: AsyncIterable[bytes] | None = None
    ) -> AsyncIterator[Output | Exit]:
        """Output as it comes. A reader that stalls stops only its own command, after 1 MiB of a stream."""
        link = await self._running()
        flags = MORE_STDIN if stdin is not None else 0
        execution = link.start(command, b"", credit=WINDOW, flags=flags)
        pump = _pumping(link, execution, stdin) if stdin is not None else None
        taken = {STDOUT: 0, STDERR: 0}
        try:
            while True:
                while execution.output:
                    kind, data = execution.output.popleft()
                    taken[kind] += len(data)
                    if taken[kind] >= WINDOW // 2 and not execution.ended:
                        link.grant(execution, kind, taken[kind])
                        taken[kind] = 0
                    yield Output("stdout" if kind == STDOUT else "stderr", data)
                if execution.ended:
                    break
                execution.news.clear()
                await execution.news.wait()
            yield _result(execution)
        finally:
            _leave(link, execution, pump)

    async def _running(self) -> Link:
        if self._link is None or self._link.failure:
            async with self._starting:
                if self._link is None or self._link.failure:
                    with translated("start the guest program on the machine"):
                        self._link = await opened(self._connection, lambda: Link.open(self._connection))
        return self._link


def _pumping(link: Link, execution: Execution, chunks: AsyncIterable[bytes]) -> asyncio.Task[None]:
    pump = asyncio.create_task(_pump(link, execution, chunks))
    pump.add_done_callback(lambda task: _pumped(task, execution))
    return pump


async def _pump(link: Link, execution: Execution, chunks: AsyncIterable[bytes]) -> None:
    async for chunk in chunks:
        at = 0
        while at < len(chunk):
            while execution.room <= 0:
                execution.more_room.clear()
                await execution.more_room.wait()
            piece = chunk[at : at + min(execution.room, PIECE)]
            link.write(execution, piece)
            at += len(piece)
    link.write(execution, b"")


def _pumped(task: asyncio.Task[None], execution: Execution) -> None:
    """What broke the source of stdin is the command's failure."""
    error = None if task.cancelled() else task.exception()
    if error:
        execution.fail(error)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _leave(link: Link, execution: Execution, pump: asyncio.Task[None] | None) -> None:
    """The command has ended, or nobody wants it any more: then its tree is ended."""
    if pump:
        pump.cancel()
    link.cancel(execution)


def _result(execution: Execution) -> Exit:
    if execution.exit is None:
        raise execution.error or RuntimeError("a command ended without a result")
    return execution.exit
