"""`ciab config`: write, show and check the configuration, and change the encryption key. Needs no server."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ciab.cli.command import Invocation, command
from ciab.cli.output import say, show_line, show_table
from ciab.core.errors import CiabError, ConfigError

config_app = typer.Typer(help="The configuration and the encryption key.", no_args_is_help=True)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="PATH", help="The file, instead of the one that is found")
]


@command(config_app, "init")
async def init(
    invocation: Invocation,
    path: Annotated[Path, typer.Option("--path", help="Where to write it")] = Path("config.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there")] = False,
) -> None:
    """Write a config.toml with every key, its default and what it does."""
    from ciab.server.config.rendering import config_file

    _write(path, config_file(), force)
    if invocation.json:
        show_line({"file": str(path)})
    else:
        say(f"wrote {path}; every key in it is a comment with its default until you change it")


@command(config_app, "show")
async def show(invocation: Invocation, config: ConfigFile = None) -> None:
    """Show the values that count, secrets masked, and where each came from."""
    from ciab.server.config import load
    from ciab.server.config.keys import dotted
    from ciab.server.config.rendering import toml

    loaded = load(config)
    rows = [(dotted(path), value, source) for path, value, source in loaded.effective()]
    if invocation.json:
        values = {key: {"value": value, "source": source} for key, value, source in rows}
        typer.echo(json.dumps({"file": loaded.file and str(loaded.file), "values": values}, indent=2))
    else:
        show_table(("KEY", "VALUE", "FROM"), [(key, toml(value), source) for key, value, source in rows])


@command(config_app, "validate")
async def validate(
    invocation: Invocation,
    path: Annotated[Path | None, typer.Argument(help="The file, instead of the one that is found")] = None,
) -> int:
    """Check the configuration, the environment's part included: a line for each problem, exit code 1."""
    from ciab.server.config import load

    file, problems = None, []
    try:
        file = load(path).file
    except ConfigError as exc:
        problems = exc.message.splitlines()
    if invocation.json:
        show_line({"valid": not problems, "file": file and str(file), "problems": problems})
    elif problems:
        typer.echo("\n".join(problems), err=True)
    else:
        say(f"{file or 'the defaults (there is no file)'}: valid")
    return 1 if problems else 0


@command(config_app, "rotate-key")
async def rotate_key(
    invocation: Invocation,
    config: ConfigFile = None,
    new_key_file: Annotated[
        Path | None, typer.Option("--new-key-file", help="File with the new key; without it one is made")
    ] = None,
    new_key_env: Annotated[
        str | None, typer.Option("--new-key-env", help="Environment variable with the new key")
    ] = None,
) -> None:
    """Encrypt every secret in the database with a new key. The server must not run."""
    from ciab.adapters.vault import parse_key, read_key_file
    from ciab.server.config import load
    from ciab.server.rotation import rotate_key as rotate

    if new_key_file and new_key_env:
        raise typer.BadParameter("give --new-key-file or --new-key-env, not both")
    new = None
    if new_key_file:
        new = read_key_file(new_key_file)[0]
    elif new_key_env:
        new = parse_key(os.environ.get(new_key_env, ""), f"${new_key_env}")
    rotated = await rotate(load(config).settings, os.environ, new)
    if invocation.json:
        show_line({"sealed": rotated.count, "key_in": rotated.key_in, "by_hand": rotated.by_hand})
    else:
        say(f"sealed {rotated.count} secrets with the new key")
        say(f"set {rotated.key_in} to it" if rotated.by_hand else f"it is in {rotated.key_in}")


def _write(path: Path, text: str, force: bool) -> None:
    """Only its owner may read it: it may come to hold API keys."""
    beside = path.with_name(f".{path.name}.new")
    try:
        if path.exists() and not force:
            raise ConfigError(
                f"{path} is already there", hint="give another --path, or --force to replace it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError as exc:
        raise CiabError(f"could not write {path}: {exc.strerror}", hint="check the folder") from exc
