"""Commands, shells and files of a machine's SSH sessions.

Own pumps between channel and process: with asyncssh's `redirect()` followed by `exit()` most of a
large output is lost. As under sshd: each session is its own process session; the exit status is sent
when the command has ended and its output has been read to the end; a channel that goes away ends
nothing but a terminal's foreground programs (SIGHUP).
"""

import asyncio
import fnmatch
import os
import posixpath
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from io import FileIO
from typing import cast

import asyncssh

from ciab.localec2.process.boot import Boot, Login
from ciab.localec2.process.children import Child
from ciab.localec2.process.pumps import pump_in, pump_out
from ciab.localec2.process.sftp import Files
from ciab.localec2.process.terminal import open_terminal, resize

SIGNALS = {"ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"}
"""What RFC 4254 names; sshd sends and takes no others."""

Process = asyncssh.SSHServerProcess[bytes]
ServerChannel = asyncssh.SSHServerChannel[bytes]


def environment(boot: Boot, login: Login, sent: Mapping[str, str], term: str | None) -> dict[str, str]:
    """HOME, USER, LOGNAME, SHELL, PATH, LANG, what AcceptEnv lets through, and TERM on a terminal."""
    allowed = {n: v for n, v in sent.items() if any(fnmatch.fnmatchcase(n, p) for p in boot.accept_env)}
    return boot.environment(login) | allowed | ({"TERM": term} if term else {})


async def run_first_boot(boot: Boot) -> None:
    """cloud-config's runcmd: one shell script as the first user, its output on the console."""
    login = boot.logins[0]
    options = {"env": environment(boot, login, {}, None), "cwd": login.home, "stdin": subprocess.DEVNULL}
    code = await Child(["/bin/sh", "-c", boot.script(boot.commands)], **options).wait()
    os.write(2, f"runcmd has ended with code {code}\n".encode())


class Session(asyncssh.SSHServerProcess[bytes]):
    """One session channel: a command, a shell or SFTP."""

    def __init__(self, boot: Boot, login: Login, on_close: Callable[[], None]) -> None:
        super().__init__(self._handle, lambda chan: Files(cast("ServerChannel", chan), login.home), 3, False)
        self._boot = boot
        self._login = login
        self._on_close = on_close
        self._child: Child | None = None
        self._terminal: int | None = None
        self._task: asyncio.Task[None] | None = None

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_close()
        if self._task:
            self._task.cancel()  # closes the process's pipes, and nothing else
        super().connection_lost(exc)

    def signal_received(self, signal: str) -> None:
        """Like sshd: to the command's process group."""
        if self._child and self._child.running and signal in SIGNALS:
            _send_to_group(self._child.pid, signal)

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        if self._terminal is not None:
            resize(self._terminal, width, height, pixwidth, pixheight)

    def break_received(self, msec: int) -> bool:
        return False

    async def _handle(self, process: Process) -> None:
        self._task = asyncio.current_task()
        try:
            code = await (
                self._on_pipes(process) if process.term_type is None else self._on_terminal(process)
            )
        except OSError as exc:  # the shell cannot be started
            with suppress(OSError):
                process.stderr.write(f"{self._login.shell}: {exc.strerror}\n".encode())
                process.exit(127)
            return
        finally:
            self._task = None
        name = signal.Signals(-code).name.removeprefix("SIG") if code < 0 else ""
        with suppress(OSError):  # the client has gone
            if code < 0:
                process.exit_with_signal(name if name in SIGNALS else "SIG@openssh.com")
            else:
                process.exit(code)

    async def _on_pipes(self, process: Process) -> int:
        with ExitStack() as stack:
            (stdin, feed), (out, stdout), (err, stderr) = (_pipe(stack) for _ in range(3))
            child = self._start(process, (stdin, stdout, stderr), None)
            for end in (stdin, stdout, stderr):
                end.close()
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(pump_in(process.stdin, feed))
                outputs = [tasks.create_task(pump_out(out, process.stdout))]
                outputs.append(tasks.create_task(pump_out(err, process.stderr)))
                code = await child.wait()
                await asyncio.wait(outputs)
                feeding.cancel()
            return code

    async def _on_terminal(self, process: Process) -> int:
        with ExitStack() as stack:
            descriptor, slave_descriptor = open_terminal(process.term_size, process.term_modes)
            master = stack.enter_context(FileIO(descriptor, "r+"))
            slave = stack.enter_context(FileIO(slave_descriptor, "r+"))
            into = stack.enter_context(FileIO(os.dup(descriptor), "w"))
            child = self._start(process, (slave, slave, slave), lambda: os.login_tty(slave_descriptor))
            slave.close()
            self._terminal = descriptor
            stack.callback(self._forget_terminal)
            async with asyncio.TaskGroup() as tasks:
                ended = asyncio.Event()
                feeding = tasks.create_task(pump_in(process.stdin, into))
                output = tasks.create_task(pump_out(master, process.stdout, ended))
                code = await child.wait()
                ended.set()
                await asyncio.wait([output])
                feeding.cancel()
            return code

    def _forget_terminal(self) -> None:
        self._terminal = None

    def _start(
        self, process: Process, ends: tuple[FileIO, FileIO, FileIO], setup: Callable[[], object] | None
    ) -> Child:
        name = posixpath.basename(self._login.shell)
        self._child = Child(
            [f"-{name}"] if process.command is None else [name, "-c", process.command],
            executable=self._login.shell,
            env=environment(self._boot, self._login, process.env, process.term_type),
            cwd=self._login.home,
            stdin=ends[0],
            stdout=ends[1],
            stderr=ends[2],
            preexec_fn=setup,
        )
        return self._child


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    read, write = os.pipe()
    return stack.enter_context(FileIO(read, "r")), stack.enter_context(FileIO(write, "w"))


def _send_to_group(pid: int, name: str) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, getattr(signal, f"SIG{name}"))
