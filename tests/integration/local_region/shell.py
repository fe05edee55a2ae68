"""A login on a machine of the local region: keys, user-data that has them, and commands."""

import asyncio
import json
from dataclasses import dataclass, field

import asyncssh

from tests.region import SSH_PORT


@dataclass(frozen=True)
class Login:
    """Fresh keys for one machine. Only its own host key is accepted."""

    user_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    host_key: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))

    @property
    def user_data(self) -> str:
        document = {
            "ssh_authorized_keys": [self.user_key.export_public_key().decode().strip()],
            "ssh_keys": {
                "ed25519_private": self.host_key.export_private_key("openssh").decode(),
                "ed25519_public": self.host_key.export_public_key().decode().strip(),
            },
            "write_files": [{"path": "/etc/ssh/sshd_config.d/10-port.conf", "content": f"Port {SSH_PORT}\n"}],
        }
        return "#cloud-config\n" + json.dumps(document)  # JSON is YAML

    async def connect(self, address: str) -> asyncssh.SSHClientConnection:
        """As soon as the machine lets us in."""
        pinned = f"[{address}]:{SSH_PORT} {self.host_key.export_public_key().decode()}"
        connection = None
        async with asyncio.timeout(30):
            while connection is None:
                try:
                    connection = await asyncssh.connect(
                        address,
                        SSH_PORT,
                        username="ubuntu",
                        client_keys=[self.user_key],
                        known_hosts=asyncssh.import_known_hosts(pinned),
                        agent_path=None,
                        config=None,
                    )
                except (ConnectionRefusedError, ConnectionResetError, asyncssh.ConnectionLost):
                    await asyncio.sleep(0.05)  # trying is the only way to learn that sshd is up
        return connection

    async def run(self, address: str, command: str) -> str:
        async with await self.connect(address) as connection:
            done = await connection.run(command, check=True)
        return str(done.stdout).strip()


async def refuses(address: str) -> bool:
    """Whether nothing listens there."""
    try:
        _, writer = await asyncio.open_connection(address, SSH_PORT)
    except ConnectionRefusedError:
        return True
    writer.close()
    await writer.wait_closed()
    return False
