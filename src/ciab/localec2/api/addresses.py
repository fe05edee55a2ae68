"""Addresses of machines: a block of 127.0.0.0/8 that belongs to one region process.

The block is claimed by listening on an abstract Unix socket of its name: the kernel gives it to one process
only and takes it back at that process's end, however it ends. A freed address is not given again until all
others of the block have been.
"""

import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator

_BLOCKS = 253 * 4  # 127.2.0.0/18 to 127.254.192.0/18: away from 127.0.0.1 and Debian's 127.0.1.1
_SIZE = 2**14


class AddressError(Exception):
    """No addresses can be had; the message says why and what to do."""


class Addresses:
    """Gives addresses of its block in turn. `saved` is called with the cursor before an address is used."""

    def __init__(self, block: int, cursor: int, saved: Callable[[int, int], None]) -> None:
        self.block = block
        self._cursor = cursor
        self._saved = saved
        self._used: set[str] = set()

    @property
    def left(self) -> int:
        """How many can be taken."""
        return _SIZE - 2 * _SIZE // 256 - len(self._used)

    def take(self) -> str:
        for step in range(1, _SIZE):
            position = (self._cursor + step) % _SIZE
            address = _address(self.block, position)
            if position % 256 in (0, 255) or address in self._used:
                continue
            self._cursor = position
            self._saved(self.block, position)
            self._used.add(address)
            return address
        raise AddressError(f"all {len(self._used)} addresses of the block are in use; terminate instances")

    def keep(self, addresses: Iterable[str]) -> None:
        """Addresses that are in use already."""
        self._used.update(addresses)

    def free(self, address: str | None) -> None:
        self._used.discard(address or "")


def claim_block(wish: str, kept: int | None) -> tuple[int, socket.socket]:
    """A block and the socket whose life is the claim. `kept` is the block of a region that has addresses
    in use; without it the first free one is taken, beginning at a place that `wish` decides.

    Raises AddressError when `kept` belongs to another process now, or none is free.
    """
    _probe()
    if kept is not None:
        lease = _lease(kept)
        if lease is None:
            raise AddressError(
                f"the addresses {_address(kept, 0)}/18 of this region are in use by another region process; "
                "end that one first"
            )
        return kept, lease
    for block in _from(wish):
        lease = _lease(block)
        if lease is not None:
            return block, lease
    raise AddressError("no free block of addresses in 127.0.0.0/8: too many regions run on this machine")


def _probe() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.254.254.1", 0))
        except OSError as exc:
            raise AddressError(
                f"this system does not answer for all of 127.0.0.0/8 ({exc.strerror}): "
                "the local region runs on Linux only"
            ) from exc


def _from(wish: str) -> Iterator[int]:
    digest = hashlib.sha256(f"{os.getuid()} {wish}".encode()).digest()
    start = int.from_bytes(digest[:4], "big")
    return ((start + i) % _BLOCKS for i in range(_BLOCKS))


def _lease(block: int) -> socket.socket | None:
    lease = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lease.bind(f"\0ciab-localec2-{_address(block, 0)}")
    except OSError:
        lease.close()
        return None
    return lease


def _address(block: int, position: int) -> str:
    number = (block % 4) * _SIZE + position
    return f"127.{2 + block // 4}.{number // 256}.{number % 256}"
