"""The way to a machine's ports, on loopback addresses of its own with a real server behind it."""

import asyncio
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from ciab.localec2.image.forward import Forwarder


class _Machine:
    """A server that can be up or down, and a forwarder in front of it."""

    def __init__(self) -> None:
        self.address = f"127.{secrets.randbelow(200) + 30}.{secrets.randbelow(250) + 1}.9"
        self.handler = _echo
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._seen = asyncio.Event()
        with socket.socket() as free:
            free.bind((self.address, 0))
            self.port: int = free.getsockname()[1]
        self.forwarding = asyncio.create_task(Forwarder([self.address], self._ports, self._dial).run())

    def _ports(self) -> set[int]:
        return {self.port} if self._server is not None else set()

    async def _dial(self, port: int) -> socket.socket:
        assert port == self.port
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        if self._server is None:
            made.close()
            raise ConnectionRefusedError
        await asyncio.get_running_loop().sock_connect(made, self._server.sockets[0].getsockname())
        return made

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        while await self.refused():
            await asyncio.sleep(0.005)
        await self._seen.wait()

    async def down(self) -> None:
        assert self._server is not None
        self._server.close()
        self._server = None
        self._seen.clear()
        while not await self.refused():
            await asyncio.sleep(0.005)

    async def refused(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.address, self.port)
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # the listener was just closing
            return False
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return False

    async def close(self) -> None:
        self.forwarding.cancel()
        await asyncio.wait({self.forwarding})
        if self._server is not None:
            self._server.close()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._seen.set()
        with suppress(ConnectionError):
            await self.handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self._serving.discard(task)


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.fixture
async def machine() -> AsyncIterator[_Machine]:
    made = _Machine()
    yield made
    await made.close()


async def test_refuses_until_the_machine_listens_and_again_when_it_stops(machine: _Machine) -> None:
    await asyncio.sleep(0)
    assert await machine.refused()
    await machine.up()
    await machine.down()
    await machine.up()


async def test_end_of_one_direction_leaves_the_other_open(machine: _Machine) -> None:
    async def answer_after_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d bytes" % len(await reader.read()))

    await machine.up()
    machine.handler = answer_after_all
    reader, writer = await asyncio.open_connection(machine.address, machine.port)
    writer.write(b"x" * 100_000)
    writer.write_eof()
    assert await reader.read() == b"100000 bytes"
    writer.close()


async def test_small_writes_are_not_held_back(machine: _Machine) -> None:
    """Nagle's algorithm on either side would cost 40 ms a round of two writes."""
    await machine.up()
    reader, writer = await asyncio.open_connection(machine.address, machine.port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    rounds = []
    for _ in range(50):
        begun = time.perf_counter()
        writer.write(b"he")
        await asyncio.sleep(0)
        writer.write(b"llo")
        assert await reader.readexactly(5) == b"hello"
        rounds.append(time.perf_counter() - begun)
    assert sorted(rounds)[25] < 0.02
    writer.close()


async def test_reader_that_does_not_read_stops_the_writer(machine: _Machine) -> None:
    written = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        if not await reader.read(1):  # the one who only looked whether we are up
            return
        while written < 200_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            written += 100_000

    await machine.up()
    machine.handler = pour
    reader, writer = await asyncio.open_connection(machine.address, machine.port)
    writer.write(b"!")
    await reader.readexactly(1)
    before = -1
    while before != written:  # until it stands still
        before = written
        await asyncio.sleep(0.2)
    assert written < 50_000_000  # what the kernel's buffers of three sockets hold at the most
    total = 1
    while data := await reader.read(1 << 20):
        total += len(data)
    assert total == 200_000_000
    writer.close()


async def test_end_of_the_machine_resets_what_is_open(machine: _Machine) -> None:
    await machine.up()
    reader, writer = await asyncio.open_connection(machine.address, machine.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    machine.forwarding.cancel()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert await machine.refused()
