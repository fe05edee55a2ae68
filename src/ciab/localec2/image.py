"""Machines with a real Debian inside: systemd, cloud-init and OpenSSH's sshd, as root on Linux.

Each has pid, mount, network, uts, ipc and cgroup namespaces of its own over a shared root file system, and
finds its user-data at an IMDSv2 endpoint as on EC2. There is no way out of its network. That keeps machines
apart for tests; it is no wall against someone who is root inside and means harm.
"""

import asyncio
import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from ciab.localec2 import kernel
from ciab.localec2.cgroup import empty_cgroup, own_cgroup
from ciab.localec2.forward import Forwarder, listening_ports
from ciab.localec2.host import MachineError, MachineOrder
from ciab.localec2.image_boot import CONSOLE_BYTES, IMDS_IP, MACHINE_IP, Boot
from ciab.localec2.imds import Imds, hostname, metadata

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""How long an orderly shutdown may take; then the machine is killed, as EC2 does after minutes."""
_BOOT_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork")
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_INSTANCES = 8192


def missing() -> list[str]:
    """What this host lacks to run such machines, one sentence each; empty: they can run."""
    if sys.platform != "linux":
        return ["image machines need Linux"]
    lacks = []
    if os.geteuid() != 0:
        lacks.append("image machines need root, for namespaces, overlayfs and network devices")
    if os.uname().machine not in kernel.PIVOT_ROOT:
        lacks.append(f"image machines are not made for {os.uname().machine} processors")
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        lacks.append("the kernel has no overlayfs: `modprobe overlay`")
    if own_cgroup() is None:
        lacks.append("no cgroup v2 is mounted")
    if shutil.which("ip") is None:
        lacks.append("the program `ip` is not installed: `apt install iproute2`")
    if not lacks:
        lacks.extend(_refused())
    return lacks


def _refused() -> list[str]:
    """Root is not enough in a container or under a security module: try the namespaces themselves."""
    tried = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return []
    return [f"new namespaces are refused here, to root too ({tried.stderr.strip()}): leave the container"]


@dataclass(slots=True)
class _Machine:
    order: MachineOrder
    launcher: asyncio.subprocess.Process
    uplink: int
    imds: Imds
    cgroup: Path
    forwarding: asyncio.Task[None] | None = None
    watch: asyncio.Task[None] | None = None
    asked_to_end: bool = False


class ImageHost:
    """A `MachineHost` whose machines boot `rootfs` (see `ciab.localec2.rootfs`).

    `folder` is the region's: two hosts at once need two. The first start raises the host's limit of inotify
    instances (systemd takes several; the usual 128 are used up by some thirty machines) and leaves it raised.
    """

    isolation = "namespaces"

    def __init__(self, folder: Path, rootfs: Path) -> None:
        """Ends whatever an earlier host on the same folder left behind."""
        self._folder = folder.resolve()
        self._rootfs = rootfs.resolve()
        self._prefix = f"ciab-{hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:12]}-"
        self._machines: dict[str, _Machine] = {}
        self._folders: dict[str, Path] = {}
        if (parent := own_cgroup()) is not None:
            for left in parent.glob(f"{self._prefix}*"):
                empty_cgroup(left)

    async def start(self, order: MachineOrder, ended: Callable[[int], None]) -> None:
        """As `MachineHost.start`: returns when systemd runs."""
        if order.instance_id in self._machines:
            raise MachineError(f"{order.instance_id} is running already")
        boot = await asyncio.to_thread(self._prepare, order)
        self._folders[order.instance_id] = order.folder
        launcher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ciab.localec2.image_boot"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
        )
        try:
            machine = await _launched(order, boot, launcher)
        except BaseException:
            _cut(launcher)  # the launcher kills what it has started and removes its cgroup
            await launcher.wait()
            raise
        self._machines[order.instance_id] = machine
        machine.watch = asyncio.create_task(self._watch(machine, ended))

    async def stop(self, instance_id: str, *, force: bool = False) -> None:
        """As `MachineHost.stop`: an orderly shutdown, bounded; with `force` none."""
        machine = self._machines.get(instance_id)
        if machine is None or machine.watch is None:
            return
        machine.asked_to_end = True
        if not force and machine.launcher.stdin is not None:
            machine.launcher.stdin.write(b"stop\n")
            await asyncio.wait({machine.watch}, timeout=STOP_SECONDS)
        _cut(machine.launcher)
        await asyncio.wait({machine.watch})

    async def destroy(self, instance_id: str) -> None:
        """As `MachineHost.destroy`. The folder of one not started by this host is `INSTANCE_ID` in its."""
        await self.stop(instance_id, force=True)
        folder = self._folders.pop(instance_id, self._folder / instance_id)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def console(self, instance_id: str) -> str:
        """As `MachineHost.console`: of the last start."""
        path = self._folders.get(instance_id, self._folder / instance_id) / "console.log"
        try:
            return path.read_bytes()[-CONSOLE_BYTES:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    async def close(self) -> None:
        """As `MachineHost.close`: all at once, each in its bounded time."""
        await asyncio.gather(*(self.stop(instance_id) for instance_id in tuple(self._machines)))

    def _prepare(self, order: MachineOrder) -> Boot:
        lacks = [] if self._machines else missing()
        if not (self._rootfs / "sbin/init").exists():
            lacks.append(f"{self._rootfs} is no root file system: `python -m ciab.localec2.rootfs` makes one")
        parent = own_cgroup()
        if lacks or parent is None:
            raise MachineError("no image machine can be booted here: " + "; ".join(lacks))
        if int(_INOTIFY.read_text()) < _INOTIFY_INSTANCES:
            _INOTIFY.write_text(str(_INOTIFY_INSTANCES))
            log.info(
                "inotify limit raised", extra={"action": "inotify_raised", "instances": _INOTIFY_INSTANCES}
            )
        order.folder.mkdir(parents=True, exist_ok=True)
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

    async def _watch(self, machine: _Machine, ended: Callable[[int], None]) -> None:
        """Wait for the machine's end, however it comes, and take down what serves it."""
        code = await machine.launcher.wait()
        if machine.forwarding is not None:
            machine.forwarding.cancel()
            await asyncio.wait({machine.forwarding})
        await machine.imds.close()
        os.close(machine.uplink)
        await asyncio.to_thread(empty_cgroup, machine.cgroup)  # left over only if the launcher was killed
        del self._machines[machine.order.instance_id]
        if not machine.asked_to_end:
            ended(code)


async def _launched(order: MachineOrder, boot: Boot, launcher: asyncio.subprocess.Process) -> _Machine:
    """Hand the launcher its orders, and serve the machine once it runs."""
    stdin = cast(asyncio.StreamWriter, launcher.stdin)
    stdout = cast(asyncio.StreamReader, launcher.stdout)
    stdin.write(json.dumps(asdict(boot)).encode() + b"\n")
    try:
        async with asyncio.timeout(_BOOT_SECONDS):
            line = await stdout.readline()
    except TimeoutError:
        raise MachineError(f"{order.instance_id} did not start its init within {_BOOT_SECONDS:g} s") from None
    told = json.loads(line or b'{"error": "the launcher died"}')
    if "error" in told:
        raise MachineError(f"{order.instance_id} could not be booted: {told['error']}")
    machine = _Machine(
        order=order,
        launcher=launcher,
        uplink=os.open(f"/proc/{launcher.pid}/fd/{told['uplink']}", os.O_RDONLY),
        imds=Imds(metadata(order, boot.mac)),
        cgroup=Path(boot.cgroup),
    )
    door = kernel.tcp_socket_in(machine.uplink)
    door.bind((IMDS_IP, 80))
    await machine.imds.serve(door)
    machine.forwarding = asyncio.create_task(_forwarder(machine).run())
    return machine


def _forwarder(machine: _Machine) -> Forwarder:
    tables = [Path(f"/proc/{machine.launcher.pid}/net/{name}") for name in ("tcp", "tcp6")]

    def ports() -> set[int]:
        try:
            return listening_ports((table.read_text() for table in tables), MACHINE_IP)
        except OSError:  # it has just ended, or the kernel has no IPv6
            return set()

    async def dial(port: int) -> socket.socket:
        made = kernel.tcp_socket_in(machine.uplink)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(made, (MACHINE_IP, port))
        except BaseException:
            made.close()
            raise
        return made

    addresses = (machine.order.private_ip, machine.order.public_ip)
    return Forwarder((address for address in addresses if address is not None), ports, dial)


def _cut(launcher: asyncio.subprocess.Process) -> None:
    """The end of its input has the launcher kill its machine."""
    if launcher.stdin is not None:
        launcher.stdin.close()
