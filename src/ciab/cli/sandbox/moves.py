"""`ciab sandbox delete`, `start`, `stop`, `pause` and `resume`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output
from ciab.cli.command import Invocation, command
from ciab.cli.progress import Progress
from ciab.cli.sandbox.app import SandboxRef, app
from ciab.cli.sandbox.waiting import Wait, failure_of, settled
from ciab.core.errors import CiabError
from ciab.core.states import ENDED, State

if TYPE_CHECKING:
    from ciab.schema.sandboxes import SandboxInfo
    from ciab.sdk.client import Client, Deleted


@command(app, "delete")
async def delete(
    invocation: Invocation,
    sandboxes: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, unique prefixes or names")],
    wait: Wait = True,
) -> int:
    """End sandboxes: their machines are terminated and nothing billable is left."""
    async with invocation.client() as client:
        with Progress(quiet=invocation.json) as progress:
            progress.doing(f"deleting {', '.join(sandboxes)}")
            ended = await asyncio.gather(
                *(_delete(client, sandbox, wait=wait) for sandbox in sandboxes), return_exceptions=True
            )
    return sum(_told(sandbox, end, invocation) for sandbox, end in zip(sandboxes, ended, strict=True)) and 1


@command(app, "start")
async def start(invocation: Invocation, sandbox: SandboxRef, wait: Wait = True) -> int:
    """Boot a stopped sandbox again."""
    return await _move(invocation, sandbox, lambda client: client.start_sandbox, State.RUNNING, wait=wait)


@command(app, "stop")
async def stop(invocation: Invocation, sandbox: SandboxRef, wait: Wait = True) -> int:
    """Shut a sandbox down and keep its disk."""
    return await _move(invocation, sandbox, lambda client: client.stop_sandbox, State.STOPPED, wait=wait)


@command(app, "pause")
async def pause(invocation: Invocation, sandbox: SandboxRef, wait: Wait = True) -> int:
    """Stop, hibernate or freeze a sandbox, as configured."""
    return await _move(invocation, sandbox, lambda client: client.pause_sandbox, State.PAUSED, wait=wait)


@command(app, "resume")
async def resume(invocation: Invocation, sandbox: SandboxRef, wait: Wait = True) -> int:
    """Let a paused sandbox run again."""
    return await _move(invocation, sandbox, lambda client: client.resume_sandbox, State.RUNNING, wait=wait)


async def _delete(client: "Client", sandbox: str, *, wait: bool) -> "tuple[SandboxInfo, Deleted]":
    info = await client.get_sandbox(sandbox)
    deleted = await client.delete_sandbox(info.id)
    return await client.wait_until(info.id, ENDED) if wait else info, deleted


def _told(sandbox: str, end: "tuple[SandboxInfo, Deleted] | BaseException", invocation: Invocation) -> int:
    """1 for one that failed."""
    if isinstance(end, CiabError):
        output.fail(end, as_json=invocation.json)
        return 1
    if isinstance(end, BaseException):
        raise end
    info, deleted = end
    if invocation.json:
        left = {"released_instance": deleted.released_instance, "notice": deleted.notice}
        output.show_line({**info.model_dump(mode="json"), **left})
        return 0
    typer.echo(sandbox)
    if deleted.notice:
        output.say(output.plain(deleted.notice))
    return 0


async def _move(
    invocation: Invocation,
    sandbox: str,
    verb: "Callable[[Client], Callable[[str], Awaitable[SandboxInfo]]]",
    goal: State,
    *,
    wait: bool,
) -> int:
    async with invocation.client() as client:
        info = await verb(client)(sandbox)
        if wait:
            info = await settled(client, info, quiet=invocation.json)
    if invocation.json:
        output.show_json(info)
    else:
        typer.echo(f"{info.name} is {info.state}")
    if not wait or info.state is goal:
        return 0
    stayed = CiabError(f"sandbox {info.name} is {info.state}, not {goal}: {info.reason or 'nobody says why'}")
    output.fail(failure_of(info) or stayed, as_json=invocation.json)
    return 1
