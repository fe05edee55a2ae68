"""What a machine listens on, asked of the kernel by sock_diag(7) in the machine's network namespace.

/proc/net/tcp says the same, but to print it the kernel walks its whole table of connections: 10 ms each
time on a host with much memory, against 0.02 ms here.
"""

import errno
import os
import socket
import struct
from typing import Final

from ciab.localec2.image.kernel import socket_in

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_ERROR, _DONE = 2, 3
_LISTEN: Final = 10
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, pid
_QUESTION = struct.Struct("=BBBxI48x")  # inet_diag_req_v2: family, protocol, extensions, states, id
_ANSWER = struct.Struct("!BBBBHH16s")  # inet_diag_msg: family, state, timer, retransmits, ports, own address


class Listening:
    """A question that can be asked again and again; `close` it."""

    def __init__(self, namespace: int, address: str) -> None:
        """`namespace` is a descriptor of a network namespace, `address` the machine's own (IPv4)."""
        self._asked = socket_in(namespace, socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._own = socket.inet_aton(address)

    def ports(self) -> set[int]:
        """The TCP ports open now on the machine's address or on every address. Raises OSError."""
        found = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            for port, address in self._dump(family):
                if not any(address) or (family == socket.AF_INET and address[:4] == self._own):
                    found.add(port)
        return found

    def close(self) -> None:
        """Let go of the namespace."""
        self._asked.close()

    def _dump(self, family: int) -> list[tuple[int, bytes]]:
        question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 1 << _LISTEN)
        size = _HEADER.size + len(question)
        self._asked.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + question)
        found: list[tuple[int, bytes]] = []
        while True:
            answers = self._asked.recv(65536)  # the kernel has it ready: it answers within `send`
            at = 0
            while at < len(answers):
                length, kind, *_ = _HEADER.unpack_from(answers, at)
                body = at + _HEADER.size
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", answers, body)[0]
                    raise OSError(number, f"sock_diag: {os.strerror(number)}")
                *_, port, _, address = _ANSWER.unpack_from(answers, body)
                found.append((port, address))
                at += (length + 3) & ~3


def can_ask() -> bool:
    """Whether this kernel answers such questions (INET_DIAG)."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        listening = Listening(own, "127.0.0.1")
        try:
            listening.ports()
        finally:
            listening.close()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EPROTONOSUPPORT}:
            return False
        raise
    finally:
        os.close(own)
    return True
