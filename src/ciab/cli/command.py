"""How every command is run: global options in any place, one event loop, errors as one line.

A command is a function, mostly an async one, whose first parameter is the Invocation. It raises our
errors, and returns an exit code or nothing, which is 0.
"""

import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ciab.cli.output import fail
from ciab.core.errors import CiabError

if TYPE_CHECKING:
    from ciab.sdk.client import Client

DEFAULT_URL = "http://127.0.0.1:9090"
INTERRUPTED = 130
PIPE_CLOSED = 141
"""128 and the number of SIGINT and of SIGPIPE, as shells have it."""


class Output(StrEnum):
    """Who reads it: a person or a program."""

    TABLE = "table"
    JSON = "json"


ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server-url", metavar="URL", help=f"The server's address ($CIAB_SERVER_URL) [{DEFAULT_URL}]"
    ),
]
ApiKey = Annotated[
    str | None, typer.Option("--api-key", metavar="KEY", help="The server's key; better in $CIAB_API_KEY")
]
OutputFormat = Annotated[Output | None, typer.Option("--output", "-o", help="For people or for programs")]


@dataclass(frozen=True, slots=True)
class Invocation:
    """What was asked of all commands alike."""

    server_url: str
    api_key: str | None
    json: bool

    def client(self) -> "Client":
        """The client for this server; use it with `async with`."""
        # Here, because --help and --version should not wait for this import.
        from ciab.sdk.client import Client

        return Client(self.server_url, self.api_key)

    def with_options(
        self, server_url: str | None, api_key: str | None, output: Output | None
    ) -> "Invocation":
        """Options given later win."""
        return replace(
            self,
            server_url=server_url or self.server_url,
            api_key=api_key or self.api_key,
            json=self.json if output is None else output is Output.JSON,
        )


class Ended(SystemExit):
    """A command ran, and this is its exit code: no usage error, although that has the code 2 as well."""


Command = Callable[..., Awaitable[int | None] | int | None]


def command(
    app: typer.Typer, name: str, *, own_errors: int = 1, **settings: Any
) -> Callable[[Command], Command]:
    """Add the function to `app`. `own_errors` is the exit code for errors of ours."""

    def add(function: Command) -> Command:
        def run(
            *,
            ctx: typer.Context,
            server_url: str | None = None,
            api_key: str | None = None,
            output: Output | None = None,
            **own: Any,
        ) -> None:
            invocation = ctx.find_root().obj.with_options(server_url, api_key, output)
            raise Ended(_run(function, invocation, own, own_errors))

        _give_signature(run, function)
        app.command(name, help=inspect.getdoc(function), **settings)(run)
        return function

    return add


def _run(function: Command, invocation: Invocation, own: dict[str, Any], own_errors: int) -> int:
    import asyncio

    from pydantic import ValidationError

    async def in_loop(asked: Awaitable[int | None]) -> int | None:
        return await asked

    try:
        asked = function(invocation, **own)
        return (asked if isinstance(asked, int | None) else asyncio.run(in_loop(asked))) or 0
    except CiabError as error:
        fail(error, as_json=invocation.json)
        return own_errors
    except ValidationError as error:
        from ciab.schema.errors import explain

        raise typer.BadParameter(explain(error.errors())[0]) from None
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads it any more: what is still buffered must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _give_signature(run: Callable[..., None], function: Command) -> None:
    """Typer reads options from the signature: the function's own, and the global ones behind them."""
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    shared = {"server_url": ServerUrl, "api_key": ApiKey, "output": OutputFormat}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in shared.items()),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # a function takes any attribute
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
