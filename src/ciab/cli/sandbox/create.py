"""`ciab sandbox create`."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output, pairs
from ciab.cli.command import Invocation, command
from ciab.cli.sandbox.app import app
from ciab.cli.sandbox.waiting import Timeout, came_up
from ciab.core.errors import CiabError

if TYPE_CHECKING:
    from ciab.sdk.client import Client


@command(app, "create")
async def create(
    invocation: Invocation,
    *,
    provider: Annotated[
        str, typer.Option("--provider", help="The agent; 'command' for a machine without one")
    ],
    name: Annotated[str | None, typer.Option("--name", help="A name of its own")] = None,
    image: Annotated[str | None, typer.Option("--image", metavar="AMI", help="What it boots from")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("-e", "--env", metavar="K[=V]", help="Environment; K alone takes the value from here"),
    ] = None,
    env_file: Annotated[Path | None, typer.Option("--env-file", help="A file of K=V lines")] = None,
    git_repo: Annotated[list[str] | None, typer.Option("--git-repo", metavar="URL", help="To clone")] = None,
    credential: Annotated[
        list[str] | None, typer.Option("--credential", metavar="ID", help="A stored credential")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V")] = None,
    persistent: Annotated[
        bool, typer.Option("--persistent", help="An end of the server stops it; otherwise deletes it")
    ] = False,
    instance_type: Annotated[str | None, typer.Option("--instance-type", metavar="TYPE")] = None,
    region: Annotated[str | None, typer.Option("--region")] = None,
    spot: Annotated[
        bool | None, typer.Option("--spot/--no-spot", help="A cheaper machine that AWS may take back")
    ] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", metavar="NAME", help="Whose budget it shares")
    ] = None,
    lifetime: Annotated[
        float | None, typer.Option("--lifetime", metavar="SECONDS", help="Then it ends")
    ] = None,
    idle_timeout: Annotated[
        float | None,
        typer.Option(
            "--idle-timeout", metavar="SECONDS", help="Idle for so long, it is put to rest; 0: never"
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it runs")] = True,
    timeout: Timeout = None,
) -> int:
    """Make a sandbox, wait until it runs, and print its id."""
    from ciab.schema.spec import SandboxSpec

    spec = SandboxSpec.model_validate(
        {
            "agent_provider": provider,
            "name": name,
            "image": image,
            "persistence": "persistent" if persistent else "ephemeral",
            "env_vars": pairs.variables(env or [], env_file),
            "git_repos": [{"url": url} for url in git_repo or []],
            "credentials": credential or [],
            "labels": pairs.labels(label or []),
            "timeout_secs": lifetime,
            "idle_timeout_secs": idle_timeout,
            "workspace": workspace,
            "ec2": {"region": region, "instance_type": instance_type, "spot": spot},
        }
    )
    async with invocation.client() as client:
        info = await client.create_sandbox(spec)
        await _warn(client)
        return await came_up(client, info, invocation, wait=wait, timeout=timeout)


async def _warn(client: "Client") -> None:
    """What the server's operator was told at its start, its users should know too: no isolation, say."""
    with suppress(CiabError):  # the sandbox is being made, whatever the answer
        for warning in (await client.ready()).warnings:
            output.say(f"warning: {output.plain(warning)}")
