"""Machines as process trees on this host: no root, no Docker, no image.

Each has its SSH server inside, on the machine's own loopback addresses, and ends with the region: by
bubblewrap's --die-with-parent, and because its first process ends when the pipe from here does.
The event loop that starts machines must run in a thread that lives as long as they do.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ciab.localec2 import disks
from ciab.localec2.host import MachineError, MachineOrder
from ciab.localec2.process.boot import BAD_BOOT, REBOOT, Boot
from ciab.localec2.process.cloudconfig import CloudConfig, read_cloud_config
from ciab.localec2.process.preparing import prepare_boot
from ciab.localec2.process.sandboxing import PROGRAM, process_environment, sandbox_argv, why_not
from ciab.localec2.process.trees import kill_descendants

log = logging.getLogger(__name__)

Isolation = Literal["bubblewrap", "none"]

_STOP_SECS = 10
_FIRST_PROCESS_SECS = 60


@dataclass(slots=True)
class _Machine:
    process: asyncio.subprocess.Process
    first: int
    """A pidfd of the machine's first process: bubblewrap's own end is not yet the machine's."""
    stopping: bool = False


class ProcessHost:
    """A MachineHost; see there. `open` finds out what isolation this host allows."""

    def __init__(self, reason: str | None, default_port: int = 22) -> None:
        self.isolation: str = "none" if reason else "bubblewrap"
        self.reason = reason
        """Why there is no isolation, in one line; None with bubblewrap."""
        self._default_port = default_port
        self._machines: dict[str, _Machine] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._folders: dict[str, Path] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        # A boot takes a quarter of a second of CPU: of fifty at once all would be late and the region deaf.
        self._booting = asyncio.Semaphore(2 * (os.cpu_count() or 2))

    @classmethod
    async def open(cls, isolation: Isolation | None = None, default_port: int = 22) -> "ProcessHost":
        """With the isolation that works here, tried by running bubblewrap; or with the given one.

        `default_port` is where SSH listens when no sshd drop-in says `Port`. Raises MachineError when
        bubblewrap was asked for and does not work.
        """
        reason = "it was switched off" if isolation == "none" else await asyncio.to_thread(why_not)
        if reason and isolation == "bubblewrap":
            raise MachineError(f"bubblewrap was asked for and does not work here: {reason}.")
        return cls(reason, default_port)

    async def start(self, order: MachineOrder, ended: Callable[[int], None]) -> None:
        async with self._lock(order.instance_id):
            if order.instance_id in self._machines:
                raise MachineError(f"{order.instance_id} is already running.")
            config = read_cloud_config(order.user_data, order.public_key)
            machine = await self._boot(order, config, fresh=True)
            self._watches[order.instance_id] = asyncio.create_task(self._watch(order, config, machine, ended))

    async def stop(self, instance_id: str, *, force: bool = False) -> None:
        async with self._lock(instance_id):
            machine, watch = self._machines.get(instance_id), self._watches.get(instance_id)
            if machine is None or watch is None:
                return
            machine.stopping = True
            self._ask_to_end(machine, orderly=not force)
            _, late = await asyncio.wait([watch], timeout=_STOP_SECS)
            if late:
                await asyncio.to_thread(self._kill, machine)
                await watch

    async def destroy(self, instance_id: str) -> None:
        await self.stop(instance_id, force=True)
        async with self._lock(instance_id):
            if folder := self._folders.pop(instance_id, None):
                await asyncio.to_thread(disks.remove, folder)
        self._locks.pop(instance_id, None)

    def console(self, instance_id: str) -> str:
        folder = self._folders.get(instance_id)
        return disks.read_console(folder) if folder else ""

    async def close(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for instance_id in list(self._machines):
                tasks.create_task(self.stop(instance_id))

    def _lock(self, instance_id: str) -> asyncio.Lock:
        return self._locks.setdefault(instance_id, asyncio.Lock())

    async def _boot(self, order: MachineOrder, config: CloudConfig, *, fresh: bool) -> _Machine:
        """Start the first process and hear from it. `_watch` gives the place among the booting back."""
        port = config.sshd.port or self._default_port
        isolated = self.isolation == "bubblewrap"
        boot = await asyncio.to_thread(prepare_boot, order, config, port, isolated=isolated)
        self._folders[order.instance_id] = order.folder
        await self._booting.acquire()
        try:
            machine = await self._first_process(order, boot, fresh)
        except BaseException:
            self._booting.release()
            raise
        self._machines[order.instance_id] = machine
        return machine

    async def _first_process(self, order: MachineOrder, boot: Boot, fresh: bool) -> _Machine:
        process, info = await self._spawn(boot, order.folder, fresh)
        try:
            async with asyncio.timeout(_FIRST_PROCESS_SECS):
                first = await self._first_pidfd(process, info)
                if first is None or not await self._says_running(process, boot):
                    raise MachineError(
                        f"{order.instance_id} did not boot: its first process ended at once. "
                        f"Its console says: {self._last_words(order)}"
                    )
            await asyncio.to_thread(disks.mark_booted, order.folder)
        except BaseException as exc:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(exc, TimeoutError):
                raise MachineError(
                    f"{order.instance_id} did not boot: nothing was heard from its first process "
                    f"for {_FIRST_PROCESS_SECS} seconds."
                ) from exc
            raise
        return _Machine(process, first)

    async def _spawn(
        self, boot: Boot, folder: Path, fresh: bool
    ) -> tuple[asyncio.subprocess.Process, int | None]:
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

    @staticmethod
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

    @staticmethod
    async def _says_running(process: asyncio.subprocess.Process, boot: Boot) -> bool:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:  # pipes were asked for
            return False
        stdin.write(boot.to_line())
        with suppress(ConnectionError):
            await stdin.drain()
        return await stdout.readline() == b"running\n"

    def _last_words(self, order: MachineOrder) -> str:
        return " / ".join(disks.read_console(order.folder).splitlines()[-3:]) or "nothing"

    async def _watch(
        self, order: MachineOrder, config: CloudConfig, machine: _Machine, ended: Callable[[int], None]
    ) -> None:
        """Until the machine's end; boot it again if it asked for a reboot."""
        while True:
            if machine.process.stdout:
                await machine.process.stdout.readline()  # `up`, or its end
            self._booting.release()
            code = await self._end_of(machine)
            if machine.stopping or code != REBOOT:
                break
            log.info("machine reboots", extra={"action": "machine_reboots", "instance": order.instance_id})
            try:
                machine = await self._boot(order, config, fresh=False)
            except MachineError:
                code = BAD_BOOT
                break
        del self._machines[order.instance_id], self._watches[order.instance_id]
        if not machine.stopping:
            log.info(
                "machine ended",
                extra={"action": "machine_ended", "instance": order.instance_id, "code": code},
            )
            ended(code)

    async def _end_of(self, machine: _Machine) -> int:
        code = await machine.process.wait()
        with suppress(ProcessLookupError):  # bubblewrap was killed: its first process follows
            signal.pidfd_send_signal(machine.first, signal.SIGKILL)
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(machine.first, gone.set)
        await gone.wait()
        loop.remove_reader(machine.first)
        os.close(machine.first)
        return code if code >= 0 else 128 - code

    @staticmethod
    def _ask_to_end(machine: _Machine, *, orderly: bool) -> None:
        if (stdin := machine.process.stdin) is None:  # a pipe was asked for
            return
        if orderly:
            stdin.write(b"stop\n")
        else:
            stdin.close()

    def _kill(self, machine: _Machine) -> None:
        if self.isolation == "none":
            with suppress(ProcessLookupError):
                kill_descendants(machine.process.pid)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(machine.first, signal.SIGKILL)
