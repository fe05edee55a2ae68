"""The first process of a local machine: `python -m ciab.localec2.process.init`, started by ProcessHost.

stdin brings one line, the Boot, and stays open: it is the machine's lifeline. Lines on it: `stop` is
an orderly stop, `hibernate` and `thaw ADDRESS...` keep everything but the SSH server over a time in
which nothing runs; its end (the region died) is an immediate stop. stdout tells the region `running`,
`up` whenever logins are possible, `frozen` and `thawed`; stderr is the console. Exit code 0: switched
off from inside; REBOOT; BAD_BOOT.

In a pid namespace this is pid 1: the kernel spares it when something inside does `kill -9 -1`, and
its own end takes everything else along. Without a namespace it is the sub-reaper of all the machine's
processes and ends them itself. Standard library only: it stays small, its child imports asyncssh.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from ciab.localec2.process.boot import BAD_BOOT, REBOOT, Boot
from ciab.localec2.process.forked import fork_boot_commands, fork_sshd
from ciab.localec2.process.furnish import furnish, write_files
from ciab.localec2.process.shims import POWEROFF as POWEROFF_SIGNAL
from ciab.localec2.process.shims import REBOOT as REBOOT_SIGNAL
from ciab.localec2.process.trees import (
    freeze_descendants,
    kill_descendants,
    signal_descendants,
    thaw,
)

_GRACE_SECS = 2.0
_PR_SET_CHILD_SUBREAPER = 36
_RESTARTS_A_MINUTE = 30


def main() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    boot = Boot.from_line(sys.stdin.buffer.readline())
    if not boot.isolated:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    tell("running")
    console(f"booting {boot.instance_id} ({boot.hostname})")
    _reporting(lambda: furnish(boot))
    code = Machine(boot).run()
    sys.stdout.flush()
    os._exit(code)


def tell(word: str) -> None:
    """Say a word to the region. A region that is gone does not matter: the lifeline ends too."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, word.encode() + b"\n")


def console(line: str) -> None:
    os.write(2, f"[{time.strftime('%H:%M:%S')}] {line}\n".encode())


def _reporting(files: Callable[[], list[str]]) -> None:
    """Have files written; what could not be is told on the console."""
    try:
        for problem in files():
            console(problem)
    except OSError as exc:
        console(f"cannot write the machine's files: {exc}")
        sys.exit(BAD_BOOT)


class Machine:
    """Keeps the SSH server running until told to stop."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._early: int | None = None
        """The boot commands, until they have ended."""
        self._sshd: int | None = None
        self._frozen: list[int] | None = None
        self._commands_due = boot.first and bool(boot.commands)
        self._starts: list[float] = []
        self._words = b""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Until the machine's end; returns the exit code. No process of it is left but this one."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, POWEROFF_SIGNAL, REBOOT_SIGNAL):
            signal.signal(number, lambda *_: None)  # the number arrives on the pipe
        self._begin()
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(self._read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                code = self._lifeline() if key.fd == 0 else self._signals(os.read(self._read, 4096))
                if code is not None:
                    return code

    def _begin(self) -> None:
        """In cloud-init's order: bootcmd, then write_files, which later boots find on the disk, then SSH."""
        if not self._boot.first:
            _reporting(lambda: write_files(self._boot))
        if self._boot.boot_commands:
            self._early = fork_boot_commands(self._boot, console)
        else:
            self._boot_commands_over()

    def _boot_commands_over(self) -> None:
        self._early = None
        if self._boot.first:
            _reporting(lambda: write_files(self._boot))
        self._start_sshd()

    def _start_sshd(self) -> None:
        self._starts = [at for at in self._starts if at > time.monotonic() - 60] + [time.monotonic()]
        self._sshd = fork_sshd(self._boot, console, run_commands=self._commands_due)
        self._commands_due = False

    def _lifeline(self) -> int | None:
        words = os.read(0, 4096)
        if not words:
            return self._end(0, 0.0)
        *lines, self._words = (self._words + words).split(b"\n")
        for word, *addresses in (line.decode().split() for line in lines):
            if word == "stop":
                return self._end(0, _GRACE_SECS)
            if word == "hibernate":
                self._hibernate()
            elif word == "thaw":
                self._thaw(tuple(addresses))
        return None

    def _hibernate(self) -> None:
        """Stop every process but this one. The SSH server ends: its addresses must refuse connections."""
        console("hibernating")
        if self._sshd is not None:
            os.kill(self._sshd, signal.SIGKILL)
            os.waitpid(self._sshd, 0)
            self._sshd = None
        self._frozen = freeze_descendants(os.getpid())
        tell("frozen")

    def _thaw(self, addresses: tuple[str, ...]) -> None:
        console("resuming from hibernation")
        self._boot = replace(self._boot, addresses=addresses)
        thaw(self._frozen or [])
        self._frozen = None
        tell("thawed")
        if self._early is None:
            self._start_sshd()

    def _signals(self, numbers: bytes) -> int | None:
        if int(REBOOT_SIGNAL) in numbers:
            console("reboot asked for inside the machine")
            return self._end(REBOOT, _GRACE_SECS)
        if int(POWEROFF_SIGNAL) in numbers:
            console("power-off asked for inside the machine")
            return self._end(0, _GRACE_SECS)
        for pid, status in self._reap():
            if pid == self._early:
                self._boot_commands_over()
            elif pid == self._sshd and (code := self._sshd_ended(status)) is not None:
                return self._end(code, 0.0)
        return None

    def _sshd_ended(self, status: int) -> int | None:
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BAD_BOOT:
            return BAD_BOOT
        if len(self._starts) >= _RESTARTS_A_MINUTE:
            console("sshd ends again and again; giving up")
            return BAD_BOOT
        console("sshd was ended inside the machine; starting it again")
        self._start_sshd()
        return None

    def _reap(self) -> Iterable[tuple[int, int]]:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            yield pid, status

    def _end(self, code: int, grace_secs: float) -> int:
        """End every process: TERM and HUP first if there is grace, then KILL."""
        if grace_secs:
            self._signal_all(signal.SIGTERM, signal.SIGHUP, signal.SIGCONT)
            self._await_children(grace_secs)
        if not self._boot.isolated:
            while self._has_children():
                kill_descendants(os.getpid())
                self._await_children(0.05)
        return code  # a namespace's processes end with its pid 1

    def _signal_all(self, *signals: signal.Signals) -> None:
        if not self._boot.isolated:
            signal_descendants(os.getpid(), *signals)
            return
        for number in signals:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, number)  # in a namespace: all of it but pid 1

    def _await_children(self, secs: float) -> None:
        end = time.monotonic() + secs
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            while self._has_children() and (left := end - time.monotonic()) > 0:
                if selector.select(left):
                    os.read(self._read, 4096)

    def _has_children(self) -> bool:
        list(self._reap())
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


if __name__ == "__main__":
    main()
