"""`ciab sandbox create`."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output, pairs
from ciab.cli.command import Invocation, command
from ciab.cli.progress import Progress
from ciab.cli.sandbox.app import app
from ciab.core.errors import CiabError, TimedOut
from ciab.core.states import State

if TYPE_CHECKING:
    from ciab.schema.events import StreamEvent
    from ciab.schema.sandboxes import SandboxInfo
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
    lifetime: Annotated[
        float | None, typer.Option("--lifetime", metavar="SECONDS", help="Then it ends")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it runs")] = True,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait no longer")
    ] = None,
) -> int | None:
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
            "ec2": {"region": region, "instance_type": instance_type},
        }
    )
    async with invocation.client() as client:
        info = await client.create_sandbox(spec)
        await _warn(client)
        if wait:
            info = await _wait(client, info, timeout, quiet=invocation.json)
    if invocation.json:
        output.show_json(info)
    else:
        typer.echo(info.id)
    return _verdict(info, invocation) if wait else None


async def _warn(client: "Client") -> None:
    """What the server's operator was told at its start, its users should know too: no isolation, say."""
    with suppress(CiabError):  # the sandbox is being made, whatever the answer
        for warning in (await client.ready()).warnings:
            output.say(f"warning: {output.plain(warning)}")


async def _wait(
    client: "Client", info: "SandboxInfo", timeout: float | None, *, quiet: bool
) -> "SandboxInfo":
    try:
        with Progress(quiet=quiet) as progress:
            progress.done(f"sandbox {info.name} ({info.id})")
            async with asyncio.timeout(timeout):
                return await client.wait_until(info.id, on_event=lambda event: _tell(event, progress))
    except TimeoutError:
        raise TimedOut(
            f"sandbox {info.name} does not run after {timeout:g} s; it goes on",
            hint=f"see 'ciab sandbox get {info.id}'; end it with 'ciab sandbox delete {info.id}'",
        ) from None
    except asyncio.CancelledError:
        output.interrupted()
        output.say(f"sandbox {info.name} goes on being made; end it with: ciab sandbox delete {info.id}")
        raise


def _tell(event: "StreamEvent", progress: Progress) -> None:
    data = event.data
    if event.event_type == "provisioning_step":
        step, status = str(data.get("step")), data.get("status")
        # why a step failed is said once, at the end
        message = f"  {data['message']}" if data.get("message") and status == "done" else ""
        elapsed = data.get("elapsed_ms")
        time = f"{elapsed / 1000:8.2f} s" if isinstance(elapsed, int | float) else " " * 10
        if status == "begun":
            progress.doing(step)
        else:
            progress.done(f"  {step:<20} {status!s:<7}{time}{message}")
    elif event.event_type == "sandbox_state_changed":
        progress.doing(str(data.get("to")))


def _verdict(info: "SandboxInfo", invocation: Invocation) -> int:
    if info.state is State.RUNNING:
        return 0
    failure = info.failure
    if failure:
        output.fail(
            CiabError(f"sandbox {info.name}: {failure.message}", hint=failure.hint),
            step=failure.step,
            as_json=invocation.json,
        )
    else:
        output.fail(CiabError(f"sandbox {info.name} is {info.state}: it was deleted while it was made"))
    return 1
