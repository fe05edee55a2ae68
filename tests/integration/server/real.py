"""Servers and sandboxes on a region of image machines: real systemd, cloud-init, sshd and IMDS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.region import RunningRegion
from tests.server import RunningServer, server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE000000000", "AWS_SECRET_ACCESS_KEY": "any"}


def config(aws: RunningRegion, **ec2: Any) -> dict[str, Any]:
    """A server that looks around every second."""
    keys = {"endpoint_url": aws.endpoint, **ec2}
    return {"server": {"watch_interval_secs": 1}, "runtime": {"backend": "ec2", "ec2": keys}}


@asynccontextmanager
async def serving(
    folder: Path, aws: RunningRegion, home: Path | None = None, **ec2: Any
) -> AsyncIterator[RunningServer]:
    environment = CREDENTIALS | ({"HOME": str(home)} if home else {})
    async with server(folder, config(aws, **ec2), environment=environment) as here:
        yield here


async def created(client: Client, name: str, **spec: object) -> SandboxInfo:
    wish = SandboxSpec.model_validate({"agent_provider": "command", "name": name, **spec})
    await client.create_sandbox(wish)
    return await at_rest(client, name, State.RUNNING)


async def at_rest(client: Client, name: str, state: State) -> SandboxInfo:
    info = await client.wait_until(name)
    assert info.state is state, info.failure
    return info


async def sh(client: Client, name: str, script: str) -> str:
    ran = await client.exec(name, ExecRequest(command=["bash", "-c", script]))
    assert ran.exit_code == 0, ran
    return ran.stdout.strip()


async def instance(aws: RunningRegion, info: SandboxInfo) -> dict[str, Any]:
    """As EC2 describes the sandbox's one instance, also when it has ended."""
    own = [{"Name": "tag:ciab-sandbox-id", "Values": [info.id]}]
    async with aws.client("ec2") as ec2:
        [reservation] = (await ec2.describe_instances(Filters=own))["Reservations"]
    [found] = reservation["Instances"]
    return dict(found)
