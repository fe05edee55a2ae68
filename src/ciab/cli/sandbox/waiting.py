"""Waiting for a sandbox, with a line for each thing that happens to it meanwhile."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output
from ciab.cli.command import Invocation
from ciab.cli.progress import Progress
from ciab.core.errors import CiabError, TimedOut
from ciab.core.states import State

if TYPE_CHECKING:
    from ciab.schema.events import StreamEvent
    from ciab.schema.sandboxes import SandboxInfo
    from ciab.sdk.client import Client

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done")]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="Wait no longer")]


async def came_up(
    client: "Client", info: "SandboxInfo", invocation: Invocation, *, wait: bool, timeout: float | None
) -> int:
    """Print a new sandbox, once it runs if `wait` says so. The exit code: 1 when it does not come up."""
    if wait:
        info = await _until_up(client, info, timeout, quiet=invocation.json)
    if invocation.json:
        output.show_json(info)
    else:
        typer.echo(info.id)
    if not wait or info.state is State.RUNNING:
        return 0
    ended = CiabError(f"sandbox {info.name} is {info.state}: it was deleted while it was made")
    step = info.failure.step if info.failure else None
    output.fail(failure_of(info) or ended, step=step, as_json=invocation.json)
    return 1


async def settled(client: "Client", info: "SandboxInfo", *, quiet: bool) -> "SandboxInfo":
    """The sandbox once it has come to rest after a move that was asked for just now."""

    def tell_news(event: "StreamEvent") -> None:
        if event.timestamp >= info.updated_at:  # the rest of its story was told long ago
            _tell(event, progress)

    with Progress(quiet=quiet) as progress:
        progress.doing(str(info.state))
        return await client.wait_until(info.id, on_event=tell_news)


def failure_of(info: "SandboxInfo") -> CiabError | None:
    """Its recorded failure as an error for a person."""
    if info.failure is None:
        return None
    return CiabError(f"sandbox {info.name}: {info.failure.message}", hint=info.failure.hint)


async def _until_up(
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
    elif event.event_type == "sandbox_warning":
        progress.done(f"  warning: {data.get('message')} [{data.get('code')}]")
