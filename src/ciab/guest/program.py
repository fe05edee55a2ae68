"""The program on the machine: runs commands for the server, many at once, over one SSH channel.

It is sent as text and needs Linux and Python 3.8, nothing else. It listens nowhere, runs as the user who
logged in, and ends with its channel; the trees of the commands that still run then end too.

Frames, in both directions: `!BII` kind, command's number, payload's length; then the payload.
  RUN     `!IIB` credit of each output, length of the request, flags; the request; first bytes of stdin.
          The request is JSON: argv, workdir (empty: the default one), env, timeout (seconds).
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
A supervisor is forked in advance, and used again when its tree has ended: a command costs its own start only.
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
SPARES = 8  # idle supervisors that are kept
NO_PROCESS = "the machine cannot start a process"
NO_MEANS = (errno.EAGAIN, errno.ENOMEM, errno.ENFILE, errno.EMFILE)  # not the command's fault
CANCELLED = signal.SIGUSR1
SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
LIBC = ctypes.CDLL(None)


class Command:
    """A running command and the near ends of its pipes."""

    result = b""  # not empty: it has ended
    cancelled = dropped = False
    quiet_at = 0.0

    def __init__(
        self, number: int, flags: int, supervisor: tuple[int, socket.socket], request: bytes
    ) -> None:
        self.number = number
        self.drop = bool(flags & DROP_EXCESS)
        self.more_stdin = bool(flags & MORE_STDIN)
        self.supervisor, self.control = supervisor
        fds: list[int] = []
        try:
            while len(fds) < 6:
                fds += os.pipe()
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
        self.fds = {STDIN: fds[1], STDOUT: fds[2], STDERR: fds[4]}  # those still open
        for fd in self.fds.values():
            os.set_blocking(fd, False)
        theirs = (fds[0], fds[3], fds[5])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", *theirs))]
        with contextlib.suppress(OSError):  # it was killed: the loop learns that from the missing report
            self.control.sendmsg([LENGTH.pack(len(request))], rights)
            self.control.sendall(request)
        for fd in theirs:
            os.close(fd)
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
        self.spares: list[tuple[int, socket.socket]] = []
        self.incoming = bytearray()
        self.outgoing: list[bytes] = []

    def serve(self) -> None:  # until the channel closes: EOFError, BrokenPipeError
        self.watch(0, select.EPOLLIN, self.receive)
        while True:
            if not self.spares:
                with contextlib.suppress(OSError):  # tried again when a command needs it
                    self.spares.append(start_supervisor())
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
            command.cancelled = True
            if not command.result:
                signal_all({command.supervisor}, CANCELLED)

    def run(self, number: int, payload: bytes) -> None:
        credit, size, flags = RUN_HEADER.unpack_from(payload)
        request, stdin = payload[RUN_HEADER.size :][:size], payload[RUN_HEADER.size + size :]
        try:
            supervisor = self.spares.pop() if self.spares else start_supervisor()
            command = self.commands[number] = Command(number, flags, supervisor, request)
        except OSError as exc:
            self.send(END, number, b"\0" + json.dumps({"fault": f"{NO_PROCESS}: {exc.strerror}"}).encode())
            return
        command.pending += stdin
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
        self.ending.remove(command)
        del self.commands[command.number]
        self.close(command, STDIN)
        if b'"free": true' in command.result and not command.cancelled and len(self.spares) < SPARES:
            self.spares.append((command.supervisor, command.control))  # cancelled: a late signal would hit it
        for kind in command.credit:
            # a broken pipe would end what it left running: read on for nobody
            command.drop, command.credit[kind] = True, 0
            self.grant(command, kind, 0)

    def close(self, command: Command, *kinds: int) -> None:
        for kind in kinds:
            if kind in command.fds:
                self.unwatch(command.fds[kind])
                os.close(command.fds.pop(kind))


def start_supervisor() -> tuple[int, socket.socket]:
    """Fork one; gives its pid and our end of its control."""
    ours, theirs = socket.socketpair()  # each closes with its last reference
    if pid := os.fork():
        return pid, ours
    try:
        supervise(theirs)
    finally:
        os._exit(0)


def supervise(control: socket.socket) -> None:
    """Run one command after the other and answer for all that it starts.

    CANCELLED ends its tree: the server says so, or the program or the connection is gone. When a command
    has ended by itself, what it left running is left alone, and this supervisor ends.
    """
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, CANCELLED))  # to be waited for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    LIBC.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    LIBC.prctl(1, CANCELLED, 0, 0, 0)  # PR_SET_PDEATHSIG
    # holding another command's stdin would keep that command from ending
    for fd in {int(name) for name in os.listdir("/proc/self/fd")} - {control.fileno()}:
        with contextlib.suppress(OSError):
            os.close(fd)
    nothing = [os.open(os.devnull, os.O_RDWR) for _ in range(4)][3]
    free = True
    while free:
        size, rights, _, _ = control.recvmsg(LENGTH.size, socket.CMSG_SPACE(12), socket.MSG_CMSG_CLOEXEC)
        if not size:  # the program is gone
            return
        request = json.loads(control.recv(LENGTH.unpack(size)[0], socket.MSG_WAITALL))
        for number, fd in enumerate(struct.unpack("3i", rights[0][2])):
            os.dup2(fd, number)
            os.close(fd)
        report = run(**request)
        for number in range(3):
            os.dup2(nothing, number)
        free = report["free"] = wait(0, 0.0) is not None
        control.sendall(json.dumps(report).encode())


def run(argv: list[str], workdir: str, env: dict[str, str], timeout: float) -> dict[str, object]:
    """Start the command and wait for its end. One that cannot be started is a result, as in a shell."""
    began = time.monotonic()
    deadline = began + timeout
    workspace = os.path.expanduser("~/workspace")
    default = workspace if os.path.isdir(workspace) else os.path.expanduser("~")
    try:
        os.chdir(os.path.join(default, os.path.expanduser(workdir)))
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


def environment(extra: dict[str, str]) -> dict[str, str]:
    """What the login gave, the command's own on top. Not os.environ: Python may have put LC_CTYPE there."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [entry.partition("=") for entry in os.fsdecode(file.read()).split("\0") if entry]
    login = {name: value for name, _, value in pairs if name not in ("_", "OLDPWD")}
    return {**login, "PWD": os.getcwd(), **extra}


if __name__ == "__main__":
    os.write(1, MARKER + sys.argv[-1].encode() + b"\n")
    LIBC.prctl(15, b"ciab-guest", 0, 0, 0)  # PR_SET_NAME
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects supervisors
    with contextlib.suppress(EOFError, BrokenPipeError):
        Program().serve()
