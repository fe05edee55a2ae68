"""Running servers with machines to measure on: process machines, and real ones for whoever may make them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ciab.adapters.ssh.keys import mint
from ciab.core.guest import Target
from ciab.core.ids import SandboxId
from ciab.core.states import State
from ciab.localec2.image import needs as image_needs
from ciab.localec2.image import rootfs
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.region import region
from tests.server import RunningServer, server

PROCESS, IMAGE = "a process machine (asyncssh's SSH server)", "a machine with systemd and OpenSSH's sshd"

_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE000000000", "AWS_SECRET_ACCESS_KEY": "any"}


def kinds() -> list[str]:
    """The kinds of machines there are here, the simplest first; says why one is left out."""
    if os.geteuid() != 0:
        print(f"without root there is no {IMAGE.removeprefix('a ')} here")
        return [PROCESS]
    lacks = [*image_needs.missing(), *rootfs.missing()]
    if lacks:
        print(f"there is no {IMAGE.removeprefix('a ')} here: {'; '.join(lacks)}")
        return [PROCESS]
    return [PROCESS, IMAGE]


@asynccontextmanager
async def serving(kind: str, folder: Path) -> AsyncIterator[RunningServer]:
    """A server in a process of its own that makes machines of that kind, ended with all it made."""
    if kind == PROCESS:
        async with server(folder) as here:
            yield here
        return
    arguments = ("--machines", "image", "--rootfs", str(rootfs.ensure()))
    async with region(folder / "region", arguments=arguments) as aws:
        config = {"runtime": {"backend": "ec2", "ec2": {"endpoint_url": aws.endpoint}}}
        async with server(folder / "server", config, environment=_CREDENTIALS) as here:
            yield here


async def created(client: Client) -> SandboxInfo:
    """A running sandbox."""
    made = await client.create_sandbox(SandboxSpec(agent_provider="command"))
    info = await client.wait_until(made.id)
    if info.state is not State.RUNNING:
        raise RuntimeError(f"the sandbox is {info.state}: {info.failure}")
    return info


async def let_in(client: Client, info: SandboxInfo) -> Target:
    """Its machine, as OpenSSH's own programs reach it by a key of the benchmark's own."""
    pair = mint().user
    access = await client.ssh_access(info.id, pair.public)
    host = str(info.instance and info.instance.public_ip)
    return Target(SandboxId(info.id), host, access.port, access.user, access.host_key, pair.private)
