"""The Typer app that the commands of `ciab sandbox` are added to."""

from typing import Annotated

import typer

app = typer.Typer(help="Make, look at, use and end sandboxes.", no_args_is_help=True, rich_markup_mode=None)

SandboxRef = Annotated[str, typer.Argument(metavar="ID", help="Id, unique prefix of it, or name")]
