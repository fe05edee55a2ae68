"""Orders for machines, and SSH connections to them, as the control plane would make them."""

import asyncio
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncssh

from ciab.localec2.host import MachineOrder
from ciab.localec2.process.host import ProcessHost

PORT = 2222
HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")


def public_line(key: asyncssh.SSHKey) -> str:
    return key.export_public_key().decode().strip()


def user_data(drop_in: str = "", **more: Any) -> bytes:
    """What CIAB sends. JSON is YAML."""
    document = {
        "users": [
            "default",
            {
                "name": "ubuntu",
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [public_line(USER_KEY)],
            },
        ],
        "disable_root": True,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": HOST_KEY.export_private_key().decode(),
            "ed25519_public": public_line(HOST_KEY),
        },
        "write_files": [
            {
                "path": "/etc/ssh/sshd_config.d/10-ciab.conf",
                "permissions": "0644",
                "content": f"Port {PORT}\n{drop_in}",
            }
        ],
    }
    return b"#cloud-config\n" + json.dumps(document | more).encode()


def order(folder: Path, name: str = "i-0a", data: bytes | None = None) -> MachineOrder:
    """A machine on loopback addresses that no other test is likely to have."""
    network = f"127.{random.randint(64, 120)}.{random.randint(0, 255)}"
    return MachineOrder(
        instance_id=name,
        region="us-east-1",
        zone="us-east-1a",
        instance_type="t3.medium",
        image_id="ami-0",
        folder=folder / name,
        private_ip=f"{network}.{random.randint(1, 120)}",
        public_ip=f"{network}.{random.randint(121, 254)}",
        user_data=user_data() if data is None else data,
        key_name=None,
        public_key=None,
    )


@dataclass(slots=True)
class Launched:
    """A started machine. `ended` is set to the exit code if it ends by itself."""

    host: ProcessHost
    order: MachineOrder
    ended: "asyncio.Future[int]"

    async def stop(self, *, force: bool = False) -> None:
        await self.host.stop(self.order.instance_id, force=force)

    async def start_again(self, public_ip: str) -> None:
        self.order = replace(self.order, public_ip=public_ip)
        await self.host.start(self.order, self.ended.set_result)

    async def connect(self, **more: Any) -> asyncssh.SSHClientConnection:
        """Log in as soon as the machine listens."""
        return await connect(self.order.private_ip, **more)

    async def run(self, command: str) -> str:
        """Its stdout; CalledProcess fails the test."""
        async with await self.connect() as connection:
            return str((await connection.run(command, check=True)).stdout)


async def launch(host: ProcessHost, ordered: MachineOrder) -> Launched:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    await host.start(ordered, ended.set_result)
    return Launched(host, ordered, ended)


async def connect(address: str, **more: Any) -> asyncssh.SSHClientConnection:
    options: dict[str, Any] = {
        "port": PORT,
        "username": "ubuntu",
        "client_keys": [USER_KEY],
        "known_hosts": ([HOST_KEY.convert_to_public()], [], []),
        "config": [],
        "agent_path": None,
    }
    async with asyncio.timeout(30):
        while True:
            try:
                return await asyncssh.connect(address, **(options | more))
            except (ConnectionError, asyncssh.ConnectionLost):
                await asyncio.sleep(0.01)  # booting or going down: as with EC2 one can only ask again
