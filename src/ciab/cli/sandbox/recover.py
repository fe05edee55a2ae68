"""`ciab sandbox recover`."""

from typing import Annotated

import typer

from ciab.cli.command import Invocation, command
from ciab.cli.sandbox.app import SandboxRef, app
from ciab.cli.sandbox.waiting import Timeout, came_up


@command(app, "recover")
async def recover(
    invocation: Invocation,
    *,
    sandbox: SandboxRef,
    name: Annotated[
        str | None, typer.Option("--name", help="A name of its own, not that of the lost one")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it runs")] = True,
    timeout: Timeout = None,
) -> int:
    """Make a sandbox that failed or ended anew, and print its id.

    The new one has the same spec. What was on the lost one's disk is gone.
    """
    async with invocation.client() as client:
        info = await client.recover_sandbox(sandbox, name)
        return await came_up(client, info, invocation, wait=wait, timeout=timeout)
