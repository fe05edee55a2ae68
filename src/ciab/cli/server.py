"""`ciab server`: start it, end it, ask how it is."""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output
from ciab.cli.command import Invocation, command
from ciab.cli.progress import Progress
from ciab.core.errors import CiabError, TimedOut
from ciab.core.states import LIVE, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ciab.adapters.db import Holder
    from ciab.adapters.db.peek import Seen

app = typer.Typer(help="The CIAB server on this machine.", no_args_is_help=True, rich_markup_mode=None)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="PATH", help="The file, instead of the one that is found")
]

LOOK_SECS = 0.2
"""How often a stop looks at what is left."""

EXIT_SECS = 10.0
"""How long a process may take to exit after it gave its database up."""


@command(app, "start")
def start(
    invocation: Invocation,
    *,
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0: a free one")] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="local|ec2", help="Who gives machines")
    ] = None,
) -> int:
    """Run the server until ^C or 'ciab server stop', which also end its ephemeral sandboxes."""
    # Here, because the server takes long to import and the other commands do not need it.
    from ciab.server.config import load
    from ciab.server.run import serve

    given = {("server", "host"): host, ("server", "port"): port, ("runtime", "backend"): backend}
    overrides: dict[tuple[str, ...], object] = {
        key: value for key, value in given.items() if value is not None
    }
    return serve(load(config, overrides=overrides).settings)


@command(app, "stop")
def stop(
    invocation: Invocation,
    config: ConfigFile = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the machines running, as for an upgrade")
    ] = False,
) -> int:
    """End the server of the configured database, and its ephemeral sandboxes; wait until it is done."""
    from ciab.adapters.db import holder_of
    from ciab.server.config import load

    settings = load(config).settings
    database = settings.database.path
    holder = holder_of(database)
    if holder is None:
        output.say(f"no server is running: none uses the database {database}")
        return 0
    try:
        os.kill(holder.pid, signal.SIGUSR1 if keep else signal.SIGTERM)
    except OSError as error:
        raise CiabError(
            f"cannot end the server, process {holder.pid}: {error.strerror}",
            hint="end it as the user who runs it",
        ) from error
    keeps = keep or settings.runtime.ec2.on_shutdown == "keep"
    with Progress(quiet=invocation.json) as progress:
        _end_of(holder, database, progress)
    left = [] if keeps else _left(database)
    if invocation.json:
        output.show_line({"pid": holder.pid, "left": [f"{seen.name} ({seen.id})" for seen in left]})
    if left:
        names = ", ".join(f"{seen.name} ({seen.id}) is {seen.state}" for seen in left)
        raise CiabError(
            f"the server ended and left sandboxes that may still cost money: {names}",
            hint="start it again: it goes on where it was",
        )
    return 0


@command(app, "status")
async def status(invocation: Invocation) -> int:
    """Say whether the server answers and can work; exit code 1 when not."""
    async with invocation.client() as client:
        health = await client.health()
        ready = await client.ready()
    fields = {
        "server": invocation.server_url,
        "version": health.version,
        "status": ready.status.replace("_", " "),
        "backend": ready.backend or "-",
    }
    if invocation.json:
        output.show_line({**fields, **ready.model_dump(mode="json")})
    else:
        notes = {"reasons": ready.reasons, "warnings": ready.warnings}
        output.show_fields(fields | {name: "; ".join(texts) for name, texts in notes.items() if texts})
    return 0 if ready.status == "ready" else 1


def _end_of(holder: "Holder", database: Path, progress: Progress) -> None:
    from ciab.adapters.db import holder_of

    while (now := holder_of(database)) is not None and now.pid == holder.pid:
        count = len(_left(database))
        progress.doing(f"process {holder.pid} ends; sandboxes left: {count}")
        time.sleep(LOOK_SECS)
    given_up = time.monotonic()
    while _alive(holder.pid):
        if time.monotonic() - given_up > EXIT_SECS:
            raise TimedOut(f"process {holder.pid} gave its database up, but does not exit")
        time.sleep(0.02)
    progress.done(f"the server (process {holder.pid}) has ended")


def _left(database: Path) -> "Sequence[Seen]":
    """What an orderly end still has to do, or could not do."""
    from ciab.adapters.db.peek import in_states

    return in_states(database, LIVE - {State.STOPPED, State.PAUSED})


def _alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped by its parent does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return not Path("/proc/self").exists()  # without /proc, answering the signal is all we know
