"""The `ciab` command."""

import os
import sys
from itertools import pairwise
from typing import Annotated

import typer

from ciab import __version__
from ciab.cli.command import DEFAULT_URL, ApiKey, Ended, Invocation, Output, OutputFormat, ServerUrl, command
from ciab.cli.config import config_app
from ciab.cli.cost import cost
from ciab.cli.doctor import doctor
from ciab.cli.files import app as files_app
from ciab.cli.reaper import gc
from ciab.cli.sandbox import app as sandbox_app
from ciab.cli.server import app as server_app

WELCOME = """\
CIAB runs coding agents in sandboxes: one machine each, given and taken back.

  ciab server start                              the server; leave it running
  ciab sandbox create --provider command         a sandbox; prints its id
  ciab sandbox exec ID -- uname -a               a command in it
  ciab sandbox delete ID                         its end

All commands: ciab --help"""

OWN_ERROR_OF_EXEC = 125

app = typer.Typer(
    name="ciab",
    help="Coding agents in sandboxes of their own.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(server_app, name="server")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(files_app, name="files")
app.add_typer(config_app, name="config")
command(app, "cost")(cost)
command(app, "doctor")(doctor)
command(app, "gc")(gc)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ciab {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    server_url: ServerUrl = None,
    api_key: ApiKey = None,
    output: OutputFormat = None,
    _wants_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end")
    ] = False,
) -> None:
    """Coding agents in sandboxes of their own: one machine each, given and taken back."""
    ctx.obj = Invocation(
        server_url=server_url or os.environ.get("CIAB_SERVER_URL") or DEFAULT_URL,
        api_key=api_key or os.environ.get("CIAB_API_KEY") or None,
        json=output is Output.JSON,
    )
    if ctx.invoked_subcommand is None:
        typer.echo(WELCOME)


def main() -> None:
    """The entry point. Ends the process with the command's exit code."""
    try:
        app()
    except Ended:
        raise
    except SystemExit as end:
        if end.code == 2 and _is_exec(sys.argv[1:]):
            sys.exit(OWN_ERROR_OF_EXEC)
        raise


def _is_exec(arguments: list[str]) -> bool:
    """Exit code 2 of `sandbox exec` is the remote command's, so usage errors there have ours."""
    words = [word for word in arguments if not word.startswith("-")]
    return any(pair == ("sandbox", "exec") for pair in pairwise(words))


if __name__ == "__main__":
    main()
