"""The frames that the guest program speaks, from the server's side. Its own docstring says what they mean."""

import json
import struct
from collections.abc import Iterator
from importlib import resources

from ciab.core.errors import GuestFault, InvalidRequest
from ciab.core.guest import Command

HEADER = struct.Struct("!BII")
RUN_HEADER = struct.Struct("!IIB")
CREDIT_PAYLOAD = struct.Struct("!BI")
LENGTH = struct.Struct("!I")
RUN, STDIN, CREDIT, CANCEL = 1, 2, 3, 4
STDOUT, STDERR, TAKEN, END = 5, 6, 7, 8
DROP_EXCESS, MORE_STDIN = 1, 2
MARKER = b"\n\0ciab-guest "
MOST = (1 << 32) - 1
"""The largest credit that a frame can carry."""
NEVER = 1e9
"""Seconds, as the time limit of a command that has none."""
LARGEST = 1 << 20
"""Bytes of payload. Larger ones are never sent by our program, so what sends them is not our program."""


def program() -> bytes:
    """The program's text, as it is sent to the machine."""
    return resources.files("ciab.guest").joinpath("program.py").read_bytes()


def frame(kind: int, number: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, number, len(payload)) + payload


def run_frame(number: int, command: Command, stdin: bytes, credit: int, flags: int) -> bytes:
    """Raises InvalidRequest for a command that no machine could be asked to run."""
    env = {name: value.reveal() for name, value in command.env.items()}
    _check(command, env)
    timeout = NEVER if command.timeout is None else command.timeout
    request = {"argv": command.argv, "workdir": command.workdir or "", "env": env, "timeout": timeout}
    text = json.dumps(request).encode()
    return frame(RUN, number, RUN_HEADER.pack(min(credit, MOST), len(text), flags) + text + stdin)


def _check(command: Command, env: dict[str, str]) -> None:
    if not command.argv:
        raise InvalidRequest("the command is empty", hint="give the program and its arguments as a list")
    if any(not name or "=" in name for name in env):
        raise InvalidRequest("a name in the environment is empty or has an = in it")
    for what, texts in (
        ("the command", command.argv),
        ("the environment", (*env, *env.values())),
        ("the working directory", (command.workdir or "",)),
    ):
        for text in texts:
            try:
                bad = b"\0" in text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                bad = True
            if bad:
                raise InvalidRequest(f"{what} has a character that no program can be given")


class Frames:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The frames that `data` completes: kind, number, payload. Raises GuestFault for what is none."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, number, size = HEADER.unpack_from(self._buffer)
            if size > LARGEST or kind not in (STDOUT, STDERR, TAKEN, END):
                raise GuestFault("the guest program on the machine sent what is not a frame")
            if len(self._buffer) < HEADER.size + size:
                break
            payload = bytes(self._buffer[HEADER.size : HEADER.size + size])
            del self._buffer[: HEADER.size + size]
            yield kind, number, payload
