"""`ciab sandbox ssh` and `proxy`: a login through the server, with a key that stays on this machine."""

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli.command import Invocation, command
from ciab.cli.remote import RemoteCommand
from ciab.cli.sandbox.app import SandboxRef, app
from ciab.core.errors import CiabError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from ciab.schema.access import SshAccess

ACCESS_SECS = 300.0
"""How long the key opens the door; who is inside stays inside."""

CHUNK = 65536


@command(app, "ssh", cls=RemoteCommand)
async def ssh(
    invocation: Invocation,
    sandbox: SandboxRef,
    argv: Annotated[
        list[str] | None, typer.Argument(metavar="[-- CMD ARGS...]", help="As ssh takes it")
    ] = None,
) -> int:
    """Log in to a sandbox with the system's ssh, through the server."""
    program = shutil.which("ssh")
    if program is None:
        raise CiabError("there is no ssh program here", hint="install OpenSSH's client")
    with tempfile.TemporaryDirectory(prefix="ciab-ssh-") as folder:
        public = _make_key(Path(folder))
        async with invocation.client() as client:
            info = await client.get_sandbox(sandbox)
            access = await client.ssh_access(info.id, public, ACCESS_SECS)
        (Path(folder) / "known_hosts").write_text(f"ciab-{info.id} {access.host_key}\n")
        process = await asyncio.create_subprocess_exec(
            program, *_options(Path(folder), info.id, access), *(argv or []), env=_environment(invocation)
        )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


@command(app, "proxy")
async def proxy(invocation: Invocation, sandbox: SandboxRef) -> None:
    """Connect standard input and output to a sandbox's SSH port: ssh's ProxyCommand."""
    async with invocation.client() as client, client.proxy(sandbox) as socket:
        loop = asyncio.get_running_loop()
        # A daemon: a read that nobody will answer any more must not keep the process alive.
        threading.Thread(target=_send_all, args=(socket, loop), daemon=True).start()
        async for message in socket:
            data = message.encode() if isinstance(message, str) else message
            await asyncio.to_thread(_write, data)


def _make_key(folder: Path) -> str:
    """Write the private half into the folder, readable by us alone; gives the public line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    path = folder / "key"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def _options(folder: Path, sandbox_id: str, access: "SshAccess") -> Sequence[str]:
    """Nothing of the user's own configuration, keys and known hosts: exactly this key and this machine."""
    through = shlex.join([sys.executable, "-m", "ciab.cli.main", "sandbox", "proxy", sandbox_id])
    settings = {
        "ProxyCommand": through.replace("%", "%%"),
        "IdentityFile": f'"{folder / "key"}"',
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": f'"{folder / "known_hosts"}"',
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": f"ciab-{sandbox_id}",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "PreferredAuthentications": "publickey",
        "LogLevel": "ERROR",
    }
    pairs = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    return ["-F", "none", *pairs, "-l", access.user, "-p", str(access.port), f"ciab-{sandbox_id}"]


def _environment(invocation: Invocation) -> dict[str, str]:
    """The proxy finds the server as we did; the key is never on a command line."""
    env = {**os.environ, "CIAB_SERVER_URL": invocation.server_url}
    if invocation.api_key:
        env["CIAB_API_KEY"] = invocation.api_key
    return env


def _send_all(socket: "ClientConnection", loop: asyncio.AbstractEventLoop) -> None:
    """Standard input, whatever it is: asyncio itself cannot read files and /dev/null."""
    from websockets.exceptions import ConnectionClosed

    # the other side has ended, and with it the loop
    with suppress(RuntimeError, OSError, ConnectionClosed, CancelledError):
        while data := os.read(sys.stdin.fileno(), CHUNK):
            asyncio.run_coroutine_threadsafe(socket.send(data), loop).result()
        asyncio.run_coroutine_threadsafe(socket.close(), loop).result()


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
