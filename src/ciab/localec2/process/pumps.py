"""Copies bytes between an SSH channel and a file descriptor until one side ends.

Descriptors are made non-blocking, and closed when the pump ends.
"""

import asyncio
import io
import os

import asyncssh

_CHUNK = 65536


async def pump_out(
    end: io.FileIO, writer: asyncssh.SSHWriter[bytes], ended: asyncio.Event | None = None
) -> None:
    """From the process to the channel, to the end of the output.

    With `ended` set (a terminal's process is gone) the end is also where nothing more is waiting:
    a background process may keep the terminal open for ever.
    """
    descriptor = end.fileno()
    os.set_blocking(descriptor, False)
    try:
        while True:
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                if ended is not None and ended.is_set():
                    return
                await _readable(descriptor, ended)
                continue
            if not data:
                return
            writer.write(data)
            await writer.drain()
    except (OSError, asyncssh.Error):
        # a terminal's end is EIO; a closed channel is a broken pipe, and the process gets SIGPIPE in turn
        return
    finally:
        end.close()


async def pump_in(reader: asyncssh.SSHReader[bytes], end: io.FileIO) -> None:
    """From the channel to the process, until the client's end-of-file."""
    descriptor = end.fileno()
    os.set_blocking(descriptor, False)
    try:
        while data := await reader.read(_CHUNK):
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[os.write(descriptor, rest) :]
                except BlockingIOError:
                    await _writable(descriptor)
    except (OSError, asyncssh.Error):  # the process reads no more; what the client still sends is dropped
        return
    finally:
        end.close()


async def _readable(descriptor: int, ended: asyncio.Event | None) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        if ended is None:
            await ready.wait()
        else:
            waits = [asyncio.ensure_future(ready.wait()), asyncio.ensure_future(ended.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
    finally:
        loop.remove_reader(descriptor)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
