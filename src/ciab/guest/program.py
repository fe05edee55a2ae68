"""The program on the machine: runs commands for the server, many at once, over one SSH channel.

It is sent as text and needs Linux and Python 3.8, nothing else. It listens nowhere, runs as the user who
logged in, and ends with its channel; the trees of the commands that still run then end too.

Frames, in both directions: `!BII` kind, command's number, payload's length; then the payload.
  RUN     `!IIB` credit of each output, length of the request, flags; the request; first bytes of stdin.
          The request is JSON: argv, workdir, env, timeout (seconds or null).
          Flags: 1 output beyond the credit is dropped (else it waits), 2 more stdin follows.
  STDIN   bytes; none: end of file
  CREDIT  `!BI` STDOUT or STDERR, how many bytes more may be sent
  CANCEL  end the whole tree; no output is owed any more
Those go to the machine, these come back:
  STDOUT, STDERR   bytes
  TAKEN   `!I` how many bytes of stdin were passed on
  END     `!B` 1 when output was dropped; then JSON: {code, duration_ms, timed_out}: the result, or
          {refused: why}: the request cannot be granted, or {fault: why}: the machine could not do it

Every command has a supervisor: a fork of this program, the sub-reaper of all that the command starts. That is
how it knows the whole tree, double forks and new sessions included; only another user's (sudo) are beyond it.
One supervisor is always forked in advance, so a command costs no more than its own start.
"""

# pathlib would cost every connection its import:
# ruff: noqa: PTH109, PTH111, PTH112, PTH118, PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable

HEADER, RUN_HEADER, CREDIT_PAYLOAD, LENGTH = map(struct.Struct, ("!BII", "!IIB", "!BI", "!I"))
RUN, STDIN, CREDIT, CANCEL = 1, 2, 3, 4
STDOUT, STDERR, TAKEN, END = 5, 6, 7, 8
DROP_EXCESS, MORE_STDIN = 1, 2
MARKER = b"\n\0ciab-guest "  # whatever the user's shell prints at login comes before it

CHUNK = 1 << 16
QUIET = 0.1  # seconds after a command's end in which what it left running may still print to the caller
GRACE = 0.5  # seconds between SIGTERM and SIGKILL
HOUR = 3600.0
NO_PROCESS = "the machine cannot start a process"
NO_MEANS = (errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE)  # not the command's fault
CANCELLED = signal.SIGUSR1
SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
LIBC = ctypes.CDLL(None)


class Command:
    """A command, or one to be: its supervisor is forked in advance and waits on `control` for the request."""

    number = 0
    drop = dropped = False
    more_stdin = True
    result = b""  # not empty: it has ended
    quiet_at = 0.0

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair()  # each closes with its last reference
        fds: list[int] = []
        try:
            while len(fds) < 6:
                fds += os.pipe()
            self.supervisor = os.fork()
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
        stdin, our_stdin, our_stdout, stdout, our_stderr, stderr = fds
        if self.supervisor == 0:
            try:
                Supervisor(theirs, [stdin, stdout, stderr], [our_stdout, our_stderr]).serve()
            finally:
                os._exit(0)
        for fd in (stdin, stdout, stderr):
            os.close(fd)
        self.fds = {STDIN: our_stdin, STDOUT: our_stdout, STDERR: our_stderr}  # those still open
        for fd in self.fds.values():
            os.set_blocking(fd, False)
        self.credit = {STDOUT: 0, STDERR: 0}
        self.owed = {STDOUT: 0, STDERR: 0}  # what was in the pipe when the command ended and is not read yet
        self.pending = bytearray()  # stdin that the command has not taken yet; the server's credit bounds it

    def due(self) -> float:
        """When its end may be said: not before all that it wrote is sent on."""
        outputs = [kind for kind in (STDOUT, STDERR) if kind in self.fds]
        if any(self.owed[kind] > 0 for kind in outputs):
            return float("inf")
        return self.quiet_at if outputs else 0.0


class Program:
    """The loop. It sleeps in epoll and waits for nothing but the channel to take its output."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[], None]] = {}
        self.commands: dict[int, Command] = {}
        self.ending: list[Command] = []
        self.spare: Command | None = None
        self.incoming = bytearray()
        self.outgoing: list[bytes] = []

    def serve(self) -> None:
        """Run until the channel closes (EOFError, BrokenPipeError)."""
        self.watch(0, select.EPOLLIN, self.receive)
        while True:
            if self.spare is None:
                with contextlib.suppress(OSError):  # tried again when a command needs it
                    self.spare = Command()
            due = min([command.due() for command in self.ending], default=float("inf"))
            for fd, _ in self.epoll.poll(max(0.0, min(due - time.monotonic(), HOUR))):
                if fd in self.handlers:  # else an earlier event of this round closed it
                    with contextlib.suppress(BlockingIOError):  # and its number has a new owner
                        self.handlers[fd]()
            for command in [one for one in self.ending if one.due() <= time.monotonic()]:
                self.finish(command)
            self.flush()

    def watch(self, fd: int, mask: int, handler: Callable[[], None]) -> None:
        if fd not in self.handlers:
            self.epoll.register(fd, mask)
        self.handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        # closing alone would not do: a supervisor holds the same pipe, so epoll would go on reporting it
        if self.handlers.pop(fd, None):
            self.epoll.unregister(fd)

    def send(self, kind: int, number: int, payload: bytes) -> None:
        self.outgoing += (HEADER.pack(kind, number, len(payload)), payload)

    def flush(self) -> None:
        data = memoryview(b"".join(self.outgoing))
        self.outgoing.clear()
        while data:
            data = data[os.write(1, data) :]

    def receive(self) -> None:
        data = os.read(0, 4 * CHUNK)
        if not data:
            raise EOFError
        self.incoming += data
        while len(self.incoming) >= HEADER.size:
            kind, number, size = HEADER.unpack_from(self.incoming)
            payload = bytes(self.incoming[HEADER.size : HEADER.size + size])
            if len(payload) < size:
                break
            del self.incoming[: HEADER.size + size]
            self.handle(kind, number, payload)

    def handle(self, kind: int, number: int, payload: bytes) -> None:
        command = self.commands.get(number)
        if kind == RUN:
            self.run(number, payload)
        elif command is None:
            pass  # it ended while the frame was on its way
        elif kind == STDIN:
            command.pending += payload
            command.more_stdin = bool(payload)
            self.feed(command)
        elif kind == CREDIT:
            self.grant(command, *CREDIT_PAYLOAD.unpack(payload))
        elif kind == CANCEL:
            self.close(command, STDIN, STDOUT, STDERR)
            if not command.result:
                signal_all({command.supervisor}, CANCELLED)

    def run(self, number: int, payload: bytes) -> None:
        credit, size, flags = RUN_HEADER.unpack_from(payload)
        try:
            command, self.spare = self.spare or Command(), None
        except OSError as exc:
            self.send(END, number, b"\0" + json.dumps({"fault": f"{NO_PROCESS}: {exc.strerror}"}).encode())
            return
        self.commands[number] = command
        command.number = number
        command.drop = bool(flags & DROP_EXCESS)
        command.more_stdin = bool(flags & MORE_STDIN)
        command.pending += payload[RUN_HEADER.size + size :]
        with contextlib.suppress(OSError):  # killed; `ended` learns it from the missing report
            command.control.sendall(LENGTH.pack(size) + payload[RUN_HEADER.size : RUN_HEADER.size + size])
        self.watch(command.control.fileno(), select.EPOLLIN, lambda: self.ended(command))
        self.grant(command, STDOUT, credit)
        self.grant(command, STDERR, credit)
        self.feed(command)

    def grant(self, command: Command, kind: int, size: int) -> None:
        command.credit[kind] += size
        if kind in command.fds and (command.credit[kind] or command.drop):
            self.watch(command.fds[kind], select.EPOLLIN, lambda: self.pass_on(command, kind))

    def pass_on(self, command: Command, kind: int) -> None:
        data = os.read(command.fds[kind], CHUNK if command.drop else min(CHUNK, command.credit[kind]))
        if not data:
            self.close(command, kind)
            return
        kept = data[: command.credit[kind]]
        command.credit[kind] -= len(kept)
        command.owed[kind] -= len(data)
        command.dropped = command.dropped or len(kept) < len(data)
        if kept:
            self.send(kind, command.number, kept)
        if not (command.credit[kind] or command.drop):
            self.unwatch(command.fds[kind])

    def feed(self, command: Command) -> None:
        """Write what stdin takes now; the rest when there is room again."""
        fd = command.fds.get(STDIN)
        if fd is None:
            return
        try:
            taken = os.write(fd, command.pending)
        except BlockingIOError:
            taken = 0
        except BrokenPipeError:  # it reads no more
            self.close(command, STDIN)
            return
        if taken:
            del command.pending[:taken]
            self.send(TAKEN, command.number, LENGTH.pack(taken))
        if command.pending:
            self.watch(fd, select.EPOLLOUT, lambda: self.feed(command))
        elif command.more_stdin:
            self.unwatch(fd)
        else:
            self.close(command, STDIN)

    def ended(self, command: Command) -> None:
        """The supervisor reports the end, or is itself gone."""
        with contextlib.suppress(OSError):
            command.result = command.control.recv(CHUNK)
        command.result = command.result or b'{"fault": "the supervisor of the command was killed"}'
        self.unwatch(command.control.fileno())
        for kind in command.owed.keys() & command.fds.keys():
            unread = fcntl.ioctl(command.fds[kind], termios.FIONREAD, bytes(LENGTH.size))
            command.owed[kind] = int.from_bytes(unread, sys.byteorder)
        command.quiet_at = time.monotonic() + QUIET
        self.ending.append(command)

    def finish(self, command: Command) -> None:
        self.send(END, command.number, bytes([command.dropped]) + command.result)
        self.close(command, STDIN, STDOUT, STDERR)
        command.control.close()
        self.ending.remove(command)
        del self.commands[command.number]

    def close(self, command: Command, *kinds: int) -> None:
        for kind in kinds:
            if kind in command.fds:
                self.unwatch(command.fds[kind])
                os.close(command.fds.pop(kind))


class Supervisor:
    """Runs one command and answers for all it starts, in a process of its own.

    CANCELLED ends its tree: the server says so, or the program or the connection is gone. When the command
    has ended by itself, what it left running is left alone."""

    def __init__(self, control: socket.socket, pipes: list[int], unread: list[int]) -> None:
        self.control = control
        self.unread = unread
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, CANCELLED))  # to be waited for
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        LIBC.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        LIBC.prctl(1, CANCELLED, 0, 0, 0)  # PR_SET_PDEATHSIG
        for number, fd in enumerate(pipes):
            os.dup2(fd, number)
        # one that held another command's stdin would keep that command from ending
        for fd in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, control.fileno(), *unread}:
            with contextlib.suppress(OSError):
                os.close(fd)

    def serve(self) -> None:
        size = self.control.recv(LENGTH.size, socket.MSG_WAITALL)
        if size:  # else the program ended before there was a command
            request = json.loads(self.control.recv(LENGTH.unpack(size)[0], socket.MSG_WAITALL))
            report = json.dumps(self.attempt(**request))
            os.closerange(0, 3)
            self.control.sendall(report.encode())
            self.control.recv(1)  # until the loop has closed its side
            self.discard()

    def attempt(
        self, argv: list[str], workdir: str | None, env: dict[str, str], timeout: float | None
    ) -> dict[str, object]:
        """Start the command and wait for its end. One that cannot be started is a result, as in a shell."""
        began = time.monotonic()
        deadline = began + (float("inf") if timeout is None else timeout)
        try:
            os.chdir(folder_of(workdir))
        except OSError as exc:
            return {"refused": f"cannot enter the working directory {workdir}: {exc.strerror}"}
        try:
            env = environment(env)
            os.environ["PATH"] = env.get("PATH", os.defpath)  # posix_spawnp searches in ours
            child = os.posix_spawnp(argv[0], argv, env, setpgroup=0, setsigmask=(), setsigdef=SIGNALS)
        except OSError as exc:
            if exc.errno in NO_MEANS:
                return {"fault": f"{NO_PROCESS}: {exc.strerror}"}
            os.write(2, os.fsencode(f"ciab: {argv[0][:200]}: {exc.strerror}\n"))
            code: int | None = 127 if exc.errno == errno.ENOENT else 126
        else:
            code = wait(child, deadline, CANCELLED)
        timed_out = code is None and time.monotonic() >= deadline
        if code is None:
            code = 124
            end_tree()
        return {"code": code, "duration_ms": round((time.monotonic() - began) * 1000), "timed_out": timed_out}

    def discard(self) -> None:
        """Read on what is printed by what the command left running: a broken pipe would end it."""
        if wait(0, 0.0) is None:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects who ends
            fd = self.unread[bool(os.fork())]  # a process for each
            os.set_blocking(fd, True)
            while os.read(fd, CHUNK):
                pass


def wait(child: int, deadline: float, *heeded: signal.Signals) -> int | None:
    """The exit code of `child`, when it ends; 0 when nobody is left. None: something heeded came first."""
    while True:
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    status = ended[1]
                    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        except ChildProcessError:  # nobody is left
            return 0
        left = min(deadline - time.monotonic(), HOUR)
        came = signal.sigtimedwait((signal.SIGCHLD, *heeded), left) if left > 0 else None
        if left <= 0 or (came and came.si_signo in heeded):
            return None


def end_tree() -> None:
    """Ask the whole tree to end, give it a moment, then stop it until nothing new comes, kill it."""
    signal_all(descendants(), signal.SIGTERM)
    if wait(0, time.monotonic() + GRACE) is None:
        stopped: set[int] = set()
        while new := descendants() - stopped:
            signal_all(new, signal.SIGSTOP)
            stopped |= new
        signal_all(stopped, signal.SIGKILL)
        wait(0, time.monotonic() + GRACE)


def signal_all(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):  # gone already, or another user's
            os.kill(pid, number)


def descendants() -> set[int]:
    """Every process below this one; orphans are among them, the kernel gives them to the sub-reaper."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    tree = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return tree - {os.getpid()}


def folder_of(workdir: str | None) -> str:
    workspace = os.path.expanduser("~/workspace")
    default = workspace if os.path.isdir(workspace) else os.path.expanduser("~")
    return os.path.join(default, os.path.expanduser(workdir or ""))


def environment(extra: dict[str, str]) -> dict[str, str]:
    """What the login gave, the command's own on top. Not os.environ: Python may have put LC_CTYPE there."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [entry.partition("=") for entry in os.fsdecode(file.read()).split("\0") if entry]
    given = {name: value for name, _, value in pairs if name not in ("_", "OLDPWD")}
    return {**given, "PWD": os.getcwd(), **extra}


if __name__ == "__main__":
    os.write(1, MARKER + sys.argv[-1].encode() + b"\n")
    LIBC.prctl(15, b"ciab-guest", 0, 0, 0)  # PR_SET_NAME
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects supervisors
    with contextlib.suppress(EOFError, BrokenPipeError):
        Program().serve()
