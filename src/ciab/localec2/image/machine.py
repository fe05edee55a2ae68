"""A running image machine as the region sees it: its launcher, its metadata service, the way to its ports."""

import asyncio
import json
import os
import socket
import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import cast

from ciab.localec2.host import MachineError, MachineOrder
from ciab.localec2.image.boot import IMDS_IP, MACHINE_IP, Boot
from ciab.localec2.image.forward import Forwarder
from ciab.localec2.image.imds import Imds
from ciab.localec2.image.kernel import socket_in
from ciab.localec2.image.listening import Listening

_BOOT_SECONDS = 30.0
_CONNECT_SECONDS = 5.0


class ImageMachine:
    """Boot it with `boot`, await its end with `ended`. Its launcher ends it when our end of a pipe goes."""

    def __init__(self, launcher: asyncio.subprocess.Process, imds: Imds) -> None:
        self.asked_to_end = False
        self._launcher = launcher
        self._imds = imds
        self._held = ExitStack()
        self._forwarding: asyncio.Task[None] | None = None

    @classmethod
    async def boot(cls, order: MachineOrder, boot: Boot, imds: Imds) -> "ImageMachine":
        """Returns when init runs. Raises MachineError, and leaves nothing, when it cannot."""
        launcher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ciab.localec2.image.boot"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
        )
        machine = cls(launcher, imds)
        try:
            uplink = await machine._launch(order.instance_id, boot)
            await machine._serve(uplink, [ip for ip in (order.private_ip, order.public_ip) if ip is not None])
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

    async def ended(self) -> int:
        """Wait for the machine's end, however it comes, and take down what serves it; the exit code.

        Afterwards its addresses refuse connections. To be awaited once.
        """
        code = await self._launcher.wait()
        if self._forwarding is not None:
            self._forwarding.cancel()
            await asyncio.wait({self._forwarding})
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
        listening = Listening(own, MACHINE_IP)
        self._held.callback(listening.close)
        metadata_door = _tcp_socket(uplink)
        metadata_door.bind((IMDS_IP, 80))
        await self._imds.serve(metadata_door)

        async def dial(port: int) -> socket.socket:
            made = _tcp_socket(uplink)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await asyncio.get_running_loop().sock_connect(made, (MACHINE_IP, port))
            except BaseException:
                made.close()
                raise
            return made

        self._forwarding = asyncio.create_task(Forwarder(addresses, listening.ports, dial).run())


def _tcp_socket(namespace: int) -> socket.socket:
    made = socket_in(namespace, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setblocking(False)
    return made
