"""Machines as process trees on this host: no root, no Docker, no image.

Each has its SSH server inside, on the machine's own loopback addresses, and ends with the region: by
bubblewrap's --die-with-parent, and because its first process ends when the pipe from here does.
The event loop that starts machines must run in a thread that lives as long as they do.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ciab.localec2 import disks
from ciab.localec2.host import MachineError, MachineOrder, Notice
from ciab.localec2.process.boot import BAD_BOOT, REBOOT
from ciab.localec2.process.cloudconfig import CloudConfig, read_cloud_config
from ciab.localec2.process.machine import Machine
from ciab.localec2.process.preparing import addresses, prepare_boot
from ciab.localec2.process.sandboxing import why_not

log = logging.getLogger(__name__)

Isolation = Literal["bubblewrap", "none"]

_STOP_SECS = 10


class ProcessHost:
    """A MachineHost; see there. `open` finds out what isolation this host allows."""

    def __init__(self, reason: str | None, default_port: int = 22) -> None:
        self.isolation: str = "none" if reason else "bubblewrap"
        self.reason = reason
        """Why there is no isolation, in one line; None with bubblewrap."""
        self._default_port = default_port
        self._machines: dict[str, Machine] = {}
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
            if (machine := self._machines.get(order.instance_id)) is not None:
                if not machine.frozen:
                    raise MachineError(f"{order.instance_id} is already running.")
                if await self._thawed(machine, order):
                    return
                machine.ask_to_end(orderly=False)  # it died in its sleep
                if watch := self._watches.get(order.instance_id):
                    await asyncio.wait([watch])
            config = read_cloud_config(order.user_data, order.public_key)
            machine = await self._boot(order, config, fresh=True)
            self._watches[order.instance_id] = asyncio.create_task(self._watch(order, config, machine, ended))

    async def stop(self, instance_id: str, *, force: bool = False) -> None:
        async with self._lock(instance_id):
            machine, watch = self._machines.get(instance_id), self._watches.get(instance_id)
            if machine is None or watch is None:
                return
            machine.ask_to_end(orderly=not force and not machine.frozen)
            _, late = await asyncio.wait([watch], timeout=_STOP_SECS)
            if late:
                await asyncio.to_thread(machine.kill)
                await watch

    async def hibernate(self, instance_id: str) -> bool:
        async with self._lock(instance_id):
            machine = self._machines.get(instance_id)
            if machine is None or machine.frozen:
                return machine is not None
            try:
                async with asyncio.timeout(_STOP_SECS):
                    await machine.up.wait()
                    machine.say("hibernate")
                    machine.frozen = await machine.hear("frozen")
            except TimeoutError:
                log.warning("machine does not freeze", extra={"instance": instance_id})
        if not machine.frozen:
            await self.stop(instance_id)
        return machine.frozen

    async def announce(self, instance_id: str, notice: Notice) -> None:
        """Nothing: these machines have no metadata service."""

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

    async def _boot(self, order: MachineOrder, config: CloudConfig, *, fresh: bool) -> Machine:
        """Start the first process and hear from it. `_watch` gives the place among the booting back."""
        port = config.sshd.port or self._default_port
        isolated = self.isolation == "bubblewrap"
        boot = await asyncio.to_thread(prepare_boot, order, config, port, isolated=isolated)
        self._folders[order.instance_id] = order.folder
        await self._booting.acquire()
        try:
            machine = await Machine.boot(boot, order.folder, fresh=fresh)
        except BaseException:
            self._booting.release()
            raise
        self._machines[order.instance_id] = machine
        return machine

    @staticmethod
    async def _thawed(machine: Machine, order: MachineOrder) -> bool:
        machine.frozen = False
        machine.say(f"thaw {' '.join(addresses(order))}")
        return await machine.hear("thawed")

    async def _watch(
        self, order: MachineOrder, config: CloudConfig, machine: Machine, ended: Callable[[int], None]
    ) -> None:
        """Until the machine's end; boot it again if it asked for a reboot."""
        while True:
            await machine.hear("up")
            machine.up.set()
            self._booting.release()
            code = await machine.end()
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
