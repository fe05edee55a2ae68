"""Image machines for tests: a host on its own folder, orders for it, a client that pins every key."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest

from ciab.adapters.ec2.userdata import user_data
from ciab.core.machine import KeyPair, SandboxKeys
from ciab.core.secret import Secret
from ciab.localec2.host import MachineOrder
from ciab.localec2.image.host import ImageHost

SSH_PORT = 2222


def key_pair() -> KeyPair:
    """A fresh Ed25519 pair, as CIAB makes them."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    return KeyPair(
        private=Secret(key.export_private_key("openssh").decode()), public=key.export_public_key().decode()
    )


@dataclass(frozen=True, slots=True)
class Client:
    """Whoever launched the machine: its keys, and what it met while waiting for SSH."""

    user: str = "ubuntu"
    keys: SandboxKeys = field(default_factory=lambda: SandboxKeys(user=key_pair(), host=key_pair()))
    met: list[str] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        return self.data_with(orphan_secs=0)

    def data_with(self, orphan_secs: int) -> bytes:
        """User-data of a machine that ends itself after so long without a word."""
        public = self.keys.user.public if self.keys.user else ""
        return user_data(self.keys.host, public, self.user, SSH_PORT, orphan_secs).encode()

    @asynccontextmanager
    async def login(
        self, address: str | None, port: int = SSH_PORT
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """As soon as the machine lets us in; only refusals are waited out, each kind is noted in `met`."""
        assert address is not None
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(60):
                while True:
                    try:
                        made = await self.connect(address, port)
                        break
                    except OSError as error:
                        if type(error).__name__ not in self.met:
                            self.met.append(type(error).__name__)
                        await asyncio.sleep(0.03)  # a connection refused has nothing to wait for
            yield await stack.enter_async_context(made)

    async def run(self, address: str | None, command: str) -> str:
        """What a command that succeeds prints, over a login of its own."""
        async with self.login(address) as connection:
            return str((await connection.run(command, check=True)).stdout).strip()

    async def connect(self, address: str, port: int = SSH_PORT) -> asyncssh.SSHClientConnection:
        """One attempt, with our key only and for our host key only."""
        async with asyncio.timeout(15):
            return await asyncssh.connect(
                address,
                port,
                username=self.user,
                client_keys=[asyncssh.import_private_key(self.keys.user.private.reveal())],
                known_hosts=([asyncssh.import_public_key(self.keys.host.public)], [], []),
                config=None,
                agent_path=None,
            )


@dataclass(slots=True)
class Region:
    """A host, and orders with addresses and ids that no other test has."""

    host: ImageHost
    folder: Path
    ends: dict[str, int] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _net: str = field(
        default_factory=lambda: f"127.{secrets.randbelow(200) + 30}.{secrets.randbelow(250) + 1}"
    )
    _next: "itertools.count[int]" = field(default_factory=lambda: itertools.count(2))

    def address(self) -> str:
        """Another address of this host."""
        return f"{self._net}.{next(self._next)}"

    async def refuses(self, address: str | None, port: int = SSH_PORT) -> bool:
        """Whether a connection is refused, and nothing else."""
        try:
            _, writer = await asyncio.open_connection(address, port)
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # the listener was just closing
            return False
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return False

    def order(self, data: bytes | None, public_key: str | None = None) -> MachineOrder:
        instance_id = f"i-{secrets.token_hex(8)}0"
        return MachineOrder(
            instance_id=instance_id,
            region="eu-west-1",
            zone="eu-west-1b",
            instance_type="t3.medium",
            image_id="ami-0123456789abcdef0",
            folder=self.folder / instance_id,
            private_ip=self.address(),
            public_ip=self.address(),
            user_data=data,
            key_name=None if public_key is None else "mine",
            public_key=public_key,
        )

    async def start(self, order: MachineOrder) -> None:
        def ended(code: int) -> None:
            self.ends[order.instance_id] = code
            self.ended.set()

        await self.host.start(order, ended)


@pytest.fixture
async def region(root_file_system: Path, tmp_path: Path) -> AsyncIterator[Region]:
    """Everything it started is gone after the test."""
    made = Region(ImageHost(tmp_path, root_file_system), tmp_path)
    yield made
    await made.host.close()


@pytest.fixture
def client() -> Client:
    """The sandbox's control plane, with keys of its own."""
    return Client()


@pytest.fixture
def agent_client() -> Client:
    """The same for images whose default user is not ours to choose."""
    return Client(user="agent")
