"""The channel to the guest program of one machine: numbered commands, their output, input and ends."""

import asyncio
import hashlib
import json
import shlex
from collections import deque
from contextlib import suppress

import asyncssh

from ciab.adapters.ssh.errors import translate
from ciab.adapters.ssh.frames import (
    CANCEL,
    CREDIT,
    CREDIT_PAYLOAD,
    END,
    LENGTH,
    MARKER,
    STDERR,
    STDIN,
    STDOUT,
    TAKEN,
    Frames,
    frame,
    program,
    run_frame,
)
from ciab.core.errors import CiabError, GuestFault, GuestUnreachable, InvalidRequest
from ciab.core.guest import Command, Exit

WINDOW = 1 << 20
"""Bytes of one stream that may be under way or wait to be read, in each direction."""
START_SECONDS = 15
NOISE = 1 << 20
"""Bytes that the user's shell may print at login before the program's first word."""
RECEIVE = """import os, sys
text, size = b"", int(sys.argv[1])
while len(text) < size:
    part = os.read(0, size - len(text))
    if not part:
        sys.exit(1)
    text += part
exec(compile(text, "ciab-guest", "exec"))
"""


class Execution:
    """One command under way: what it printed and nobody has taken yet, and how it ended."""

    def __init__(self, number: int, credit: int, room: int) -> None:
        self.number = number
        self.output: deque[tuple[int, bytes]] = deque()
        self.credit = {STDOUT: credit, STDERR: credit}
        self.room = room
        """Bytes of stdin that may be sent."""
        self.exit: Exit | None = None
        self.dropped = False
        self.error: BaseException | None = None
        self.news = asyncio.Event()
        self.more_room = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self.exit is not None or self.error is not None

    def fail(self, error: BaseException) -> None:
        if not self.ended:
            self.error = error
            self.news.set()


class Link(asyncssh.SSHClientSession[bytes]):
    """A running guest program. When it ends or its connection breaks, its commands fail with `failure`."""

    def __init__(self, version: str) -> None:
        self.failure: CiabError | None = None
        self._first_word = MARKER + version.encode() + b"\n"
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._executions: dict[int, Execution] = {}
        self._last = 0
        self._frames: Frames | None = None
        """None until the program has said its first word."""
        self._noise = b""
        self._complaint = b""
        self._status: int | None = None
        self._limit: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, connection: asyncssh.SSHClientConnection) -> "Link":
        """Start the program. Commands may be sent at once; what goes wrong with the start fails them."""
        text = program()
        version = hashlib.sha256(text).hexdigest()[:16]
        line = f"exec python3 -I -S -X utf8 -c {shlex.quote(RECEIVE)} {len(text)} {version}"
        link = cls(version)
        channel, _ = await connection.create_session(lambda: link, line, encoding=None)
        link._limit = asyncio.get_running_loop().call_later(START_SECONDS, link._too_late)
        with suppress(OSError):  # it may have ended already: connection_lost knows why
            channel.write(text)
        return link

    def start(self, command: Command, stdin: bytes, *, credit: int, flags: int) -> Execution:
        """Send a command. Raises InvalidRequest, or the failure of a program that has ended."""
        self._last += 1
        execution = Execution(self._last, credit, WINDOW - len(stdin))
        data = run_frame(execution.number, command, stdin, credit, flags)
        self._executions[execution.number] = execution
        self._send(data)
        if self.failure:
            raise self.failure
        return execution

    def write(self, execution: Execution, stdin: bytes) -> None:
        """Send bytes of stdin, no more than there is room for; empty: its end."""
        execution.room -= len(stdin)
        self._send(frame(STDIN, execution.number, stdin))

    def grant(self, execution: Execution, kind: int, size: int) -> None:
        """Let the program send `size` bytes more of a stream."""
        execution.credit[kind] += size
        self._send(frame(CREDIT, execution.number, CREDIT_PAYLOAD.pack(kind, size)))

    def cancel(self, execution: Execution) -> None:
        """End the command's whole tree, if it still runs; nobody waits for what it says."""
        if self._executions.pop(execution.number, None):
            self._send(frame(CANCEL, execution.number))

    def close(self) -> None:
        """End the program and with it all its commands."""
        if self._channel:
            self._channel.close()

    def _send(self, data: bytes) -> None:
        if self._channel and not self.failure:
            try:
                self._channel.write(data)
            except OSError as exc:
                self._fail(translate(exc, "send to the machine"))

    # what asyncssh calls

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            self._complaint = (self._complaint + data)[-2000:]
            return
        try:
            if self._frames is None:
                data = self._begin(data)
            if self._frames is not None:
                for kind, number, payload in self._frames.feed(data):
                    execution = self._executions.get(number)
                    if execution:
                        self._take(execution, kind, payload)
        except GuestFault as fault:
            self._abort(fault)

    def exit_status_received(self, status: int) -> None:
        self._status = status

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._fail(translate(exc, "go on with what ran on the machine"))
        elif self._channel and self._channel.get_connection().is_closed():
            self._fail(GuestUnreachable("the connection to the machine was closed"))
        elif self._frames is None:
            self._fail(self._did_not_start())
        else:
            self._fail(
                GuestFault(
                    "the guest program on the machine ended while commands were running",
                    hint="what became of them is not known; the next command starts it again",
                )
            )

    # what follows from it

    def _begin(self, data: bytes) -> bytes:
        """Look for the program's first word; gives what comes after it."""
        self._noise += data
        before, word, after = self._noise.partition(self._first_word)
        if not word:
            if len(before) > NOISE:
                raise GuestFault("the user's shell on the machine prints without end at login")
            return b""
        self._noise = b""
        self._frames = Frames()
        if self._limit:
            self._limit.cancel()
        return after

    def _take(self, execution: Execution, kind: int, payload: bytes) -> None:
        if kind == END:
            del self._executions[execution.number]
            try:
                execution.dropped = bool(payload[0])
                execution.exit = _result(json.loads(payload[1:]))
            except (ValueError, KeyError, TypeError, IndexError):
                execution.fail(GuestFault("the guest program on the machine sent a result that is none"))
            except CiabError as error:
                execution.fail(error)
            execution.news.set()
        elif kind == TAKEN:
            execution.room = min(WINDOW, execution.room + LENGTH.unpack(payload)[0])
            execution.more_room.set()
        else:
            execution.credit[kind] -= len(payload)
            if execution.credit[kind] < 0:
                raise GuestFault("the guest program on the machine sent more than it was allowed to")
            execution.output.append((kind, payload))
            execution.news.set()

    def _did_not_start(self) -> GuestFault:
        if self._status == 127:
            return GuestFault(
                "there is no python3 on the machine", hint="use an image with Python 3.8 or newer"
            )
        said = self._complaint.decode(errors="replace").strip().rpartition("\n")[2]
        return GuestFault(f"the guest program did not start on the machine: {said or 'it said nothing'}")

    def _too_late(self) -> None:
        self._abort(
            GuestFault(
                f"the guest program did not start on the machine within {START_SECONDS} s",
                hint="look for what holds a login up, in the user's .bashrc for instance",
            )
        )

    def _abort(self, fault: CiabError) -> None:
        self._fail(fault)
        if self._channel:
            self._channel.abort()

    def _fail(self, failure: CiabError) -> None:
        if self._limit:
            self._limit.cancel()
        self.failure = self.failure or failure
        executions, self._executions = self._executions, {}
        for execution in executions.values():
            execution.fail(self.failure)


def _result(said: dict[str, object]) -> Exit:
    if "refused" in said:
        raise InvalidRequest(_printable(said["refused"]))
    if "fault" in said:
        raise GuestFault(_printable(said["fault"]))
    code, took = said["code"], said["duration_ms"]
    if not (isinstance(code, int) and isinstance(took, int)):
        raise TypeError
    return Exit(code=code, duration_ms=took, timed_out=said["timed_out"] is True)


def _printable(text: object) -> str:
    return str(text).encode("utf-8", "replace").decode()[:1000]
