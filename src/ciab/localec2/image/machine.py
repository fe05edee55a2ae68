"""A running image machine as the region sees it: its launcher, its metadata service, the way to its ports."""

import asyncio
import json
import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import cast

from ciab.localec2.host import MachineError, MachineOrder, Notice
from ciab.localec2.image.boot import IMDS_IP, MACHINE_IP, Boot
from ciab.localec2.image.cgroup import freeze_cgroup
from ciab.localec2.image.forward import Forwarder
from ciab.localec2.image.imds import Imds, metadata
from ciab.localec2.image.kernel import socket_in
from ciab.localec2.image.listening import Listening

_BOOT_SECONDS = 30.0
_CONNECT_SECONDS = 5.0


class ImageMachine:
    """Boot it with `boot`, await its end with `ended`. Its launcher ends it when our end of a pipe goes."""

    def __init__(self, launcher: asyncio.subprocess.Process, order: MachineOrder, boot: Boot) -> None:
        self.asked_to_end = False
        self.frozen = False
        self._launcher = launcher
        self._cgroup = Path(boot.cgroup)
        self._mac = boot.mac
        self._order = order
        self._imds = Imds(metadata(order, boot.mac))
        self._held = ExitStack()
        self._forwarding: asyncio.Task[None] | None = None

    @classmethod
    async def boot(cls, order: MachineOrder, boot: Boot) -> "ImageMachine":
        """Returns when init runs. Raises MachineError, and leaves nothing, when it cannot."""
        launcher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ciab.localec2.image.boot"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
        )
        machine = cls(launcher, order, boot)
        try:
            uplink = await machine._launch(order.instance_id, boot)
            await machine._serve(uplink, _addresses(order))
        except BaseException:
            machine.kill()
            await machine.ended()
            raise
        return machine

    def shut_down(self) -> None:
        """Ask for an orderly end."""
        cast(asyncio.StreamWriter, self._launcher.stdin).write(b"stop\n")

    def kill(self) -> None:
        """End every process at once: the launcher does it at the end of its input, cleans up and exits."""
        cast(asyncio.StreamWriter, self._launcher.stdin).close()

    async def freeze(self) -> None:
        """Refuse connections, reset those that are open, and let nothing run. Raises as `freeze_cgroup`."""
        await self._close_ports()
        await asyncio.to_thread(freeze_cgroup, self._cgroup, True)
        self.frozen = True

    async def thaw(self, order: MachineOrder) -> None:
        """Go on, at the order's addresses. Raises as `freeze_cgroup`."""
        self.frozen = False
        self._order = order
        self.tell()
        await asyncio.to_thread(freeze_cgroup, self._cgroup, False)
        self._open_ports(_addresses(order))

    def tell(self, notice: Notice | None = None) -> None:
        """What the metadata service says from now on."""
        self._imds.tree = metadata(self._order, self._mac, notice)

    async def ended(self) -> int:
        """Wait for the machine's end, however it comes, and take down what serves it; the exit code.

        Afterwards its addresses refuse connections. To be awaited once.
        """
        code = await self._launcher.wait()
        await self._close_ports()
        await self._imds.close()
        self._held.close()
        return code

    async def _launch(self, instance_id: str, boot: Boot) -> int:
        """Hand the launcher its orders; its descriptor of the uplink's namespace."""
        cast(asyncio.StreamWriter, self._launcher.stdin).write(json.dumps(asdict(boot)).encode() + b"\n")
        try:
            async with asyncio.timeout(_BOOT_SECONDS):
                line = await cast(asyncio.StreamReader, self._launcher.stdout).readline()
        except TimeoutError:
            raise MachineError(f"{instance_id} did not start its init within {_BOOT_SECONDS:g} s") from None
        told = json.loads(line or b'{"error": "its launcher died"}')
        if "error" in told:
            raise MachineError(f"{instance_id} could not be booted: {told['error']}")
        return int(told["uplink"])

    async def _serve(self, uplink_of_launcher: int, addresses: list[str]) -> None:
        own = os.open(f"/proc/{self._launcher.pid}/ns/net", os.O_RDONLY)
        self._held.callback(os.close, own)
        uplink = os.open(f"/proc/{self._launcher.pid}/fd/{uplink_of_launcher}", os.O_RDONLY)
        self._held.callback(os.close, uplink)
        self._listening = Listening(own, MACHINE_IP)
        self._held.callback(self._listening.close)
        metadata_door = _tcp_socket(uplink)
        metadata_door.bind((IMDS_IP, 80))
        await self._imds.serve(metadata_door)
        self._uplink = uplink
        self._open_ports(addresses)

    def _open_ports(self, addresses: list[str]) -> None:
        uplink = self._uplink

        async def dial(port: int) -> socket.socket:
            made = _tcp_socket(uplink)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await asyncio.get_running_loop().sock_connect(made, (MACHINE_IP, port))
            except BaseException:
                made.close()
                raise
            return made

        self._forwarding = asyncio.create_task(Forwarder(addresses, self._listening.ports, dial).run())

    async def _close_ports(self) -> None:
        if self._forwarding is not None:
            self._forwarding.cancel()
            await asyncio.wait({self._forwarding})
            self._forwarding = None


def _addresses(order: MachineOrder) -> list[str]:
    return [ip for ip in (order.private_ip, order.public_ip) if ip is not None]


def _tcp_socket(namespace: int) -> socket.socket:
    made = socket_in(namespace, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setblocking(False)
    return made
