"""The first process of a local machine: `python -m ciab.localec2.process.init`, started by ProcessHost.

stdin brings one line, the Boot, and stays open: it is the machine's lifeline. `stop` on it is an
orderly stop, its end (the region died) an immediate one. stdout tells the region `running` and
`up`; stderr is the console. Exit code 0: switched off from inside; REBOOT; BAD_BOOT.

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
from collections.abc import Iterable

from ciab.localec2.process.boot import BAD_BOOT, REBOOT, Boot
from ciab.localec2.process.furnish import furnish
from ciab.localec2.process.shims import POWEROFF as POWEROFF_SIGNAL
from ciab.localec2.process.shims import REBOOT as REBOOT_SIGNAL
from ciab.localec2.process.trees import kill_descendants, signal_descendants

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
    try:
        for problem in furnish(boot):
            console(problem)
    except OSError as exc:
        console(f"cannot write the machine's files: {exc}")
        sys.exit(BAD_BOOT)
    code = Machine(boot).run()
    sys.stdout.flush()
    os._exit(code)


def tell(word: str) -> None:
    """Say a word to the region. A region that is gone does not matter: the lifeline ends too."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, word.encode() + b"\n")


def console(line: str) -> None:
    os.write(2, f"[{time.strftime('%H:%M:%S')}] {line}\n".encode())


class Machine:
    """Keeps the SSH server running until told to stop."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._sshd = 0
        self._commands_due = boot.first and bool(boot.commands)
        self._starts: list[float] = []
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Until the machine's end; returns the exit code. No process of it is left but this one."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, POWEROFF_SIGNAL, REBOOT_SIGNAL):
            signal.signal(number, lambda *_: None)  # the number arrives on the pipe
        self._start_sshd()
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(self._read, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                code = self._lifeline() if key.fd == 0 else self._signals(os.read(self._read, 4096))
                if code is not None:
                    return code

    def _start_sshd(self) -> None:
        self._starts = [at for at in self._starts if at > time.monotonic() - 60] + [time.monotonic()]
        self._sshd = os.fork()
        if self._sshd == 0:
            # in the child nothing may fall back into this loop
            try:
                self._become_sshd()
            except BaseException as exc:  # noqa: BLE001 - the child's last word before it ends
                console(f"sshd: {type(exc).__name__}: {exc}")
            os._exit(BAD_BOOT)

    def _become_sshd(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, POWEROFF_SIGNAL, REBOOT_SIGNAL):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        status = os.dup(1)
        os.set_inheritable(status, False)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(2, 1)
        if not self._boot.isolated:
            from ciab.localec2.process.seccomp import confine

            confine(os.getppid(), (0, POWEROFF_SIGNAL, REBOOT_SIGNAL), (self._outside(),))
        from ciab.localec2.process.sshd import serve_forever

        serve_forever(self._boot, status, run_commands=self._commands_due)

    @staticmethod
    def _outside() -> int:
        """The region: the parent of the first process."""
        with open(f"/proc/{os.getppid()}/stat") as stat:  # noqa: PTH123 - Path would be one more import
            return int(stat.read().rpartition(")")[2].split()[1])

    def _lifeline(self) -> int | None:
        word = os.read(0, 64)
        if word and not word.startswith(b"stop"):
            return None
        return self._end(0, grace_secs=_GRACE_SECS if word else 0.0)

    def _signals(self, numbers: bytes) -> int | None:
        if int(REBOOT_SIGNAL) in numbers:
            console("reboot asked for inside the machine")
            return self._end(REBOOT, _GRACE_SECS)
        if int(POWEROFF_SIGNAL) in numbers:
            console("power-off asked for inside the machine")
            return self._end(0, _GRACE_SECS)
        for pid, status in self._reap():
            if pid == self._sshd and (code := self._sshd_ended(status)) is not None:
                return self._end(code, 0.0)
        return None

    def _sshd_ended(self, status: int) -> int | None:
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BAD_BOOT:
            return BAD_BOOT
        if len(self._starts) >= _RESTARTS_A_MINUTE:
            console("sshd ends again and again; giving up")
            return BAD_BOOT
        console("sshd was ended inside the machine; starting it again")
        self._commands_due = False
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
