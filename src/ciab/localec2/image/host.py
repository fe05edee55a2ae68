"""Machines with a real Debian inside: systemd, cloud-init and OpenSSH's sshd, as root on Linux.

Each has pid, mount, network, uts, ipc and cgroup namespaces of its own over a shared root file system, and
finds its user-data at an IMDSv2 endpoint as on EC2. There is no way out of its network. That keeps machines
apart for tests; it is no wall against someone who is root inside and means harm.
"""

import asyncio
import hashlib
import logging
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from ciab.localec2.host import MachineError, MachineOrder, Notice
from ciab.localec2.image.boot import CONSOLE_BYTES, Boot
from ciab.localec2.image.cgroup import empty_cgroup, own_cgroup
from ciab.localec2.image.imds import hostname
from ciab.localec2.image.machine import ImageMachine
from ciab.localec2.image.needs import missing, raise_inotify_limit

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""How long an orderly shutdown may take; then the machine is killed, as EC2 does after minutes."""


class ImageHost:
    """A `MachineHost` whose machines boot `rootfs` (see `ciab.localec2.image.rootfs`).

    `folder` is the region's: two hosts at once need two. The first start raises this host's limit of inotify
    instances (fs.inotify.max_user_instances) and leaves it raised.
    """

    isolation = "namespaces"

    def __init__(self, folder: Path, rootfs: Path) -> None:
        """Ends whatever an earlier host on the same folder left behind."""
        self._rootfs = rootfs.resolve()
        self._prefix = f"ciab-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]}-"
        self._machines: dict[str, tuple[ImageMachine, asyncio.Task[None]]] = {}
        self._starting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._folders: dict[str, Path] = {}
        if (parent := own_cgroup()) is not None:
            for left in parent.glob(f"{self._prefix}*"):
                empty_cgroup(left)

    async def start(self, order: MachineOrder, ended: Callable[[int], None]) -> None:
        """As `MachineHost.start`: returns when systemd runs."""
        async with self._starting[order.instance_id]:
            machine, watch = self._machines.get(order.instance_id, (None, None))
            if machine is not None and watch is not None:
                if not machine.frozen:
                    raise MachineError(f"{order.instance_id} is running already")
                if await self._thawed(machine, order):
                    return
                machine.asked_to_end = True
                machine.kill()
                await asyncio.wait({watch})
            boot = await asyncio.to_thread(self._prepare, order)
            self._folders[order.instance_id] = order.folder
            machine = await ImageMachine.boot(order, boot)
            watch = asyncio.create_task(self._watch(order.instance_id, machine, Path(boot.cgroup), ended))
            self._machines[order.instance_id] = (machine, watch)

    async def stop(self, instance_id: str, *, force: bool = False) -> None:
        """As `MachineHost.stop`: an orderly shutdown, bounded; with `force` none."""
        async with self._starting[instance_id]:  # what is just starting is stopped too
            machine, watch = self._machines.get(instance_id, (None, None))
        if machine is None or watch is None:
            return
        machine.asked_to_end = True
        if not force and not machine.frozen:
            machine.shut_down()
            await asyncio.wait({watch}, timeout=STOP_SECONDS)
        machine.kill()
        await asyncio.wait({watch})

    async def hibernate(self, instance_id: str) -> bool:
        """As `MachineHost.hibernate`: by the cgroup freezer."""
        async with self._starting[instance_id]:
            machine, _ = self._machines.get(instance_id, (None, None))
            if machine is not None and not machine.frozen:
                try:
                    await machine.freeze()
                except OSError as error:
                    log.warning("machine does not freeze: %s", error, extra={"instance": instance_id})
        if machine is None or machine.frozen:
            return machine is not None
        await self.stop(instance_id, force=True)
        return False

    async def announce(self, instance_id: str, notice: Notice) -> None:
        """As `MachineHost.announce`: by IMDS."""
        machine, _ = self._machines.get(instance_id, (None, None))
        if machine is not None:
            machine.tell(notice)

    async def destroy(self, instance_id: str) -> None:
        """As `MachineHost.destroy`."""
        await self.stop(instance_id, force=True)
        if (folder := self._folders.pop(instance_id, None)) is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._starting.pop(instance_id, None)

    def console(self, instance_id: str) -> str:
        """As `MachineHost.console`: of the last start."""
        folder = self._folders.get(instance_id)
        if folder is None or not (path := folder / "console.log").exists():
            return ""
        return path.read_bytes()[-CONSOLE_BYTES:].decode(errors="replace")

    async def close(self) -> None:
        """As `MachineHost.close`: all at once, each in its bounded time."""
        await asyncio.gather(*(self.stop(instance_id) for instance_id in tuple(self._machines)))

    @staticmethod
    async def _thawed(machine: ImageMachine, order: MachineOrder) -> bool:
        try:
            await machine.thaw(order)
        except OSError as error:  # it died in its sleep
            log.warning("machine does not thaw: %s", error, extra={"instance": order.instance_id})
            return False
        return True

    def _prepare(self, order: MachineOrder) -> Boot:
        lacks = [] if self._machines else missing()
        if not (self._rootfs / "sbin/init").exists():
            lacks.append(
                f"{self._rootfs} is no root file system: `python -m ciab.localec2.image.rootfs` makes one"
            )
        parent = own_cgroup()
        if lacks or parent is None:
            raise MachineError("no image machine can be booted here: " + "; ".join(lacks))
        raise_inotify_limit()
        order.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        cgroup = parent / f"{self._prefix}{order.instance_id}"
        empty_cgroup(cgroup)
        digest = hashlib.sha256(order.instance_id.encode()).hexdigest()
        return Boot(
            rootfs=str(self._rootfs),
            folder=str(order.folder.resolve()),
            cgroup=str(cgroup),
            hostname=hostname(order),
            mac="02:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2)),
            hypervisor_uuid="ec2" + str(uuid.UUID(digest[:32]))[3:],
        )

    async def _watch(
        self, instance_id: str, machine: ImageMachine, cgroup: Path, ended: Callable[[int], None]
    ) -> None:
        code = await machine.ended()
        try:
            await asyncio.to_thread(empty_cgroup, cgroup)  # left over only if the launcher was killed
        except TimeoutError as error:
            log.warning(
                "a machine's processes could not be ended",
                extra={"action": "cgroup_left", "instance": instance_id, "reason": str(error)},
            )
        del self._machines[instance_id]
        if not machine.asked_to_end:
            ended(code)
