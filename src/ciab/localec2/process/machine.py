"""A running local machine as the region sees it: its first process, and the pipes to and from that."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from ciab.localec2 import disks
from ciab.localec2.host import MachineError
from ciab.localec2.process.boot import Boot
from ciab.localec2.process.sandboxing import PROGRAM, process_environment, sandbox_argv
from ciab.localec2.process.trees import kill_descendants

_FIRST_PROCESS_SECS = 60


class Machine:
    """Make it with `boot`, await its `end` once. See `init` for the words on the pipes."""

    def __init__(self, process: asyncio.subprocess.Process, first: int, *, isolated: bool) -> None:
        self.stopping = False
        self.frozen = False
        self._process = process
        self._first = first
        """A pidfd of the machine's first process: bubblewrap's own end is not yet the machine's."""
        self._isolated = isolated
        self.up = asyncio.Event()
        """Set when logins have become possible for the first time, or never will."""

    @classmethod
    async def boot(cls, boot: Boot, folder: Path, *, fresh: bool) -> "Machine":
        """Return when the first process runs. Raises MachineError; nothing is left then."""
        process, info = await _spawn(boot, folder, fresh)
        try:
            async with asyncio.timeout(_FIRST_PROCESS_SECS):
                first = await _first_pidfd(process, info)
                if first is None or not await _says_running(process, boot):
                    words = " / ".join(disks.read_console(folder).splitlines()[-3:]) or "nothing"
                    raise MachineError(
                        f"{boot.instance_id} did not boot: its first process ended at once. "
                        f"Its console says: {words}"
                    )
            await asyncio.to_thread(disks.mark_booted, folder)
        except BaseException as exc:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(exc, TimeoutError):
                raise MachineError(
                    f"{boot.instance_id} did not boot: nothing was heard from its first process "
                    f"for {_FIRST_PROCESS_SECS} seconds."
                ) from exc
            raise
        return cls(process, first, isolated=boot.isolated)

    def say(self, line: str) -> None:
        """A line on the lifeline."""
        if stdin := self._process.stdin:  # a pipe was asked for
            stdin.write(f"{line}\n".encode())

    async def hear(self, word: str) -> bool:
        """Wait for this one; False when the machine ended before. One task at a time."""
        stdout = self._process.stdout
        while stdout and (line := await stdout.readline()):
            if line.decode().strip() == word:
                return True
        return False

    async def end(self) -> int:
        """Wait for the end of its last process; the exit code."""
        code = await self._process.wait()
        with suppress(ProcessLookupError):  # bubblewrap was killed: its first process follows
            signal.pidfd_send_signal(self._first, signal.SIGKILL)
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._first, gone.set)
        await gone.wait()
        loop.remove_reader(self._first)
        os.close(self._first)
        return code if code >= 0 else 128 - code

    def ask_to_end(self, *, orderly: bool) -> None:
        """In order, or at once: without a lifeline it dies."""
        self.stopping = True
        if orderly:
            self.say("stop")
        elif stdin := self._process.stdin:
            stdin.close()

    def kill(self) -> None:
        """Blocks."""
        if not self._isolated:
            with suppress(ProcessLookupError):
                kill_descendants(self._process.pid)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first, signal.SIGKILL)


async def _spawn(boot: Boot, folder: Path, fresh: bool) -> tuple[asyncio.subprocess.Process, int | None]:
    console = disks.open_console(folder, fresh=fresh)
    info, theirs = os.pipe() if boot.isolated else (None, None)
    try:
        argv = [sys.executable, *PROGRAM]
        if theirs is not None:
            argv = sandbox_argv(folder, boot.hostname, folder / "boot_id", theirs)
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=console,
            env=process_environment(),
            cwd="/",
            start_new_session=True,
            pass_fds=() if theirs is None else (theirs,),
        )
    except OSError as exc:
        if info is not None:
            os.close(info)
        raise MachineError(f"{boot.instance_id} did not boot: {exc}.") from exc
    finally:
        os.close(console)
        if theirs is not None:
            os.close(theirs)
    return process, info


async def _first_pidfd(process: asyncio.subprocess.Process, info: int | None) -> int | None:
    """None if bubblewrap ended before it had started anything."""
    if info is None:
        return os.pidfd_open(process.pid)
    with os.fdopen(info, "rb") as file:
        text = await asyncio.to_thread(file.read)
    try:
        return os.pidfd_open(int(json.loads(text)["child-pid"]))
    except (ValueError, ProcessLookupError):
        return None


async def _says_running(process: asyncio.subprocess.Process, boot: Boot) -> bool:
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:  # pipes were asked for
        return False
    stdin.write(boot.to_line())
    with suppress(ConnectionError):
        await stdin.drain()
    return await stdout.readline() == b"running\n"
