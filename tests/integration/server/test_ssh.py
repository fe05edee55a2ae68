"""SSH access through the server: a key for a limited time, and the tunnel to the machine's SSH port."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection

from ciab.core.errors import InvalidState, SandboxNotFound
from ciab.core.states import State
from ciab.schema.access import SshAccess
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.server import server

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of a server that has one running sandbox, `one`."""
    async with server(tmp_path_factory.mktemp("ssh")) as here, here.client() as client:
        await client.create_sandbox(SandboxSpec(agent_provider="command", name="one"))
        assert (await client.wait_until("one")).state is State.RUNNING
        yield client


async def logged_in(
    info: SandboxInfo, access: SshAccess, key: asyncssh.SSHKey
) -> asyncssh.SSHClientConnection:
    assert info.instance is not None
    host = str(info.instance.public_ip)
    known = asyncssh.import_known_hosts(f"[{host}]:{access.port} {access.host_key}\n")
    return await asyncssh.connect(
        host,
        access.port,
        username=access.user,
        client_keys=[key],
        known_hosts=known,
        config=[],
        agent_path=None,
    )


async def test_a_granted_key_logs_in_until_it_expires(client: Client) -> None:
    info = await client.get_sandbox("one")
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode()
    access = await client.ssh_access("one", public, ttl_secs=3600)
    async with await logged_in(info, access, key) as ssh:
        ran = await ssh.run("id -un", check=True)
        assert ran.stdout == "ubuntu\n"

    short = asyncssh.generate_private_key("ssh-ed25519")
    access = await client.ssh_access("one", short.export_public_key().decode(), ttl_secs=1)
    async with asyncio.timeout(10):
        while True:
            try:
                (await logged_in(info, access, short)).close()
            except asyncssh.PermissionDenied:
                break
            await asyncio.sleep(0.1)
    async with await logged_in(info, access, key):
        pass


async def test_the_tunnel_carries_a_whole_session_and_much_of_it(client: Client, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    access = await client.ssh_access("one", key.export_public_key().decode())
    async with client.proxy("one") as socket:
        listener = await asyncio.start_server(lambda r, w: _join(socket, r, w), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        known = asyncssh.import_known_hosts(f"[127.0.0.1]:{port} {access.host_key}\n")
        async with asyncssh.connect(
            "127.0.0.1",
            port,
            username=access.user,
            client_keys=[key],
            known_hosts=known,
            config=[],
            agent_path=None,
        ) as ssh:
            down = await ssh.run(f"head -c {20 * MIB} /dev/zero", encoding=None)
            assert isinstance(down.stdout, bytes)
            assert len(down.stdout) == 20 * MIB
            up = await ssh.run("wc -c", input=b"x" * 5 * MIB, encoding=None)
            assert int(up.stdout or 0) == 5 * MIB
        listener.close()


async def test_what_cannot_be_reached_is_refused_with_its_reason(client: Client) -> None:
    with pytest.raises(SandboxNotFound):
        async with client.proxy("nobody"):
            pass
    await client.stop_sandbox("one")
    await client.wait_until("one", {State.STOPPED})
    with pytest.raises(InvalidState, match="stopped"):
        async with client.proxy("one"):
            pass


async def _join(socket: ClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def up() -> None:
        while piece := await reader.read(65536):
            await socket.send(piece)
        await socket.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(up())
        async for message in socket:
            assert isinstance(message, bytes)
            writer.write(message)
            await writer.drain()
        writer.close()
