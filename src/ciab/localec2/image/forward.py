"""The way to a machine's ports: listeners that exist only while the machine itself listens.

A client sees "connection refused" until, say, sshd is up, as on a real network. Bytes are passed on as they
come, with TCP_NODELAY on both sides; a side that does not read stops the other, so memory stays constant.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

log = logging.getLogger(__name__)

_HELD_BYTES = 256 * 1024
_WAITING = 0.02
_SETTLED = 0.2


class Forwarder:
    """Forwards every port the machine listens on from each of `addresses` of this host."""

    def __init__(
        self,
        addresses: Iterable[str],
        ports: Callable[[], set[int]],
        dial: Callable[[int], Awaitable[socket.socket]],
    ) -> None:
        """`ports` tells at once what the machine listens on; `dial` connects to one, or raises OSError."""
        self._addresses = tuple(addresses)
        self._ports = ports
        self._dial = dial
        self._listeners: dict[tuple[str, int], asyncio.Server] = {}
        self._blocked: set[tuple[str, int]] = set()
        self._ends: set[_End] = set()
        self._dialling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow the machine until cancelled; then refuse connections and reset those that are open."""
        try:
            while True:
                await self._follow(self._ports())
                # The kernel has no event for it: look often until something is there, then just often enough.
                await asyncio.sleep(_SETTLED if self._listeners else _WAITING)
        finally:
            await self._close()

    async def _follow(self, ports: set[int]) -> None:
        wanted = {(address, port) for address in self._addresses for port in ports}
        for place in self._listeners.keys() - wanted:
            self._listeners.pop(place).close()
        for place in wanted - self._listeners.keys():
            await self._listen(place)

    async def _listen(self, place: tuple[str, int]) -> None:
        address, port = place
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: _End(self, port), address, port, backlog=512, start_serving=False
            )
        except OSError as error:
            if place not in self._blocked:  # tried again and again, said once
                self._blocked.add(place)
                log.warning(
                    "a machine's port cannot be offered on this host: another program has it",
                    extra={"action": "port_blocked", "place": f"{address}:{port}", "reason": str(error)},
                )
            return
        self._listeners[place] = server  # before it serves: whoever cancels us in between closes it
        await server.start_serving()

    async def _close(self) -> None:
        for server in self._listeners.values():
            server.close()
        self._listeners.clear()
        for end in tuple(self._ends):
            end.reset()
        dialling = tuple(self._dialling)
        for task in dialling:
            task.cancel()
        await asyncio.gather(*dialling, return_exceptions=True)

    def accepted(self, end: "_End", port: int) -> None:
        """A client is there: connect it with the machine."""
        task = asyncio.get_running_loop().create_task(self._join(end, port))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    async def _join(self, client: "_End", port: int) -> None:
        try:
            connected = await self._dial(port)
        except OSError:  # it listened a moment ago
            client.reset()
            return
        machine = _End(self, None)
        await asyncio.get_running_loop().create_connection(lambda: machine, sock=connected)
        machine.join(client)

    def opened(self, end: "_End") -> None:
        """Count it among what `run` resets at its end."""
        self._ends.add(end)

    def lost(self, end: "_End") -> None:
        """It has ended by itself."""
        self._ends.discard(end)


class _End(asyncio.Protocol):
    """One end of a forwarded connection."""

    def __init__(self, owner: Forwarder, port: int | None) -> None:
        self._owner = owner
        self._port = port
        self._peer: _End | None = None
        self._gone = False
        self._read_all = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self._transport.set_write_buffer_limits(high=_HELD_BYTES)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._owner.opened(self)
        if self._port is not None:
            self._owner.accepted(self, self._port)

    def join(self, peer: "_End") -> None:
        """From here on what comes in at either goes out at the other."""
        if self._gone or peer._gone:
            self.reset()
            peer.reset()
            return
        self._peer, peer._peer = peer, self
        self._transport.resume_reading()
        peer._transport.resume_reading()

    def reset(self) -> None:
        """End it at once, by RST: the client learns that the machine is gone, not that it said goodbye."""
        if not self._gone:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    @property
    def _socket(self) -> socket.socket:
        return cast(socket.socket, self._transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self._peer is not None:
            self._peer._transport.write(data)

    def eof_received(self) -> bool:
        self._read_all = True
        if self._peer is None or self._peer._gone or self._peer._read_all:
            return False  # close: nothing more can come from either
        self._peer._transport.write_eof()
        return True  # half closed: the other direction goes on

    def pause_writing(self) -> None:
        if self._peer is not None and not self._peer._gone:
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and not self._peer._gone:
            self._peer._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        self._owner.lost(self)
        if self._peer is not None:
            if exc is None:
                self._peer._transport.close()
            else:
                self._peer.reset()
