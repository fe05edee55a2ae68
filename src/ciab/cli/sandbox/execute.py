"""`ciab sandbox exec`."""

import asyncio
import base64
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output, pairs
from ciab.cli.command import Invocation, command
from ciab.cli.remote import RemoteCommand
from ciab.cli.sandbox.app import SandboxRef, app

if TYPE_CHECKING:
    from ciab.schema.exec import ExitFrame, OutputFrame


@command(app, "exec", own_errors=125, cls=RemoteCommand)
async def execute(
    invocation: Invocation,
    *,
    sandbox: SandboxRef,
    argv: Annotated[
        list[str], typer.Argument(metavar="-- CMD ARGS...", help="Run as it is, without a shell")
    ],
    workdir: Annotated[str | None, typer.Option("--workdir", metavar="DIR", help="[~/workspace]")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("-e", "--env", metavar="K[=V]", help="Environment; K alone takes the value from here"),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="Then it ends, with exit code 124")
    ] = None,
    tty: Annotated[bool, typer.Option("-t", "--tty", help="On a terminal (not in this release)")] = False,
    stdin: Annotated[
        bool, typer.Option("-i", "--interactive", help="Send standard input, read to its end")
    ] = False,
) -> int:
    """Run a command in a sandbox; its output as it happens, its exit code as ours. Our own errors: 125."""
    from ciab.schema.exec import ExecRequest, OutputFrame

    request = ExecRequest.model_validate(
        {
            "command": argv,
            "workdir": workdir,
            "env": pairs.variables(env or []),
            "timeout_secs": timeout,
            "tty": tty,
            "stdin": await asyncio.to_thread(_all_of_stdin) if stdin else "",
            "encoding": "utf-8" if invocation.json else "base64",
        }
    )
    code = 125
    async with invocation.client() as client, aclosing(client.exec_stream(sandbox, request)) as frames:
        async for frame in frames:
            if invocation.json:
                output.show_line(frame)
            elif isinstance(frame, OutputFrame):
                _pass_on(frame)
            code = code if isinstance(frame, OutputFrame) else _code_of(frame)
    return code


def _all_of_stdin() -> str:
    return base64.b64encode(sys.stdin.buffer.read()).decode("ascii")


def _pass_on(frame: "OutputFrame") -> None:
    stream = sys.stdout.buffer if frame.type == "stdout" else sys.stderr.buffer
    stream.write(base64.b64decode(frame.text))
    stream.flush()


def _code_of(frame: "ExitFrame") -> int:
    if frame.timed_out:
        output.say(f"the command was ended after {frame.duration_ms / 1000:.1f} s: its time was over")
    return frame.code
