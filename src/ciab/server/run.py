"""The server's process: `serve` starts it, says what it is, waits for its end, and ends it in order."""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from fastapi import FastAPI

import ciab
from ciab.control.listing import every
from ciab.core.errors import CiabError, ConfigError
from ciab.core.states import State
from ciab.server import logs
from ciab.server.app import Parts, open_parts
from ciab.server.ending import Orders, end
from ciab.server.settings import Settings, is_loopback

log = logging.getLogger(__name__)

GRACE_SECS = 2
"""How long answers under way may take after everything else has ended."""

IDLE_SECS = 75
"""How long a client's idle connection is kept: longer than clients keep theirs, so that they close first."""

Say = Callable[[str], None]


def serve(settings: Settings, say: Say | None = None) -> int:
    """Run a server until it is told to end. Exit code: 0, or 1 when it could not start or left something.

    What it is and does goes to `say` line by line (standard output when not given); why it could not
    start, in one line and with what to do, to standard error.
    """
    logs.set_up(settings.logging.level, settings.logging.format)
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            return runner.run(_serve(settings, say or _print))
    except CiabError as error:
        hint = f"; {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error.message}{hint}\n")
    except Exception:
        log.exception("server broke", extra={"action": "server_broke"})
        sys.stderr.write("error: the server broke; its log above says where; please report it\n")
    return 1


async def _serve(settings: Settings, say: Say) -> int:
    orders = Orders()
    orders.listen()
    with contextlib.closing(_bound(settings)) as listener:
        try:
            async with open_parts(settings) as parts:
                return await _run(parts, listener, orders, say)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group


async def _run(parts: Parts, listener: socket.socket, orders: Orders, say: Say) -> int:
    http = _Http(parts.api)
    supervised = asyncio.Event()
    local = parts.outside.local
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(parts.supervisor.run(supervised))]
        watching = [group.create_task(one.run()) for one in (parts.watch, parts.reaper)]
        if local:
            background.append(group.create_task(local.keeper.watch(say)))
        await supervised.wait()
        serving = group.create_task(http.serve([listener]))
        await http.listening.wait()
        host, port = listener.getsockname()[:2]
        for line in [*_lines(parts, f"http://{_in_url(host)}:{port}"), *await _stopped_machines(parts)]:
            say(line)
        parts.outside.database.lock.publish(host, port)  # last: whoever waits for it finds all of that said
        await orders.end.wait()
        for task in watching:  # from here on nothing is decided but by the end
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
        code = await end(parts, orders, say)
        parts.in_flight.cut()
        http.should_exit = True
        await serving
        for task in background:
            task.cancel()
    if local and not _keeps(parts, orders):
        await local.keeper.stop()
    return code


def _keeps(parts: Parts, orders: Orders) -> bool:
    return orders.keep or orders.at_once.is_set() or parts.outside.settings.runtime.ec2.on_shutdown == "keep"


class _Http(uvicorn.Server):
    """uvicorn without signal handlers of its own; `listening` is set when it accepts connections."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="websockets-sansio",
                ws_per_message_deflate=False,  # what SSH sends does not shrink
                timeout_keep_alive=IDLE_SECS,
                timeout_graceful_shutdown=GRACE_SECS,
            )
        )
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:  # bound by two at once, only one may listen
            raise _cannot_listen(sockets[0].getsockname() if sockets else (), error) from error
        self.listening.set()

    def capture_signals(self) -> contextlib.nullcontext[None]:  # type: ignore[override]  # theirs is a generator
        return contextlib.nullcontext()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _bound(settings: Settings) -> socket.socket:
    """The listening address, taken before anything is touched; nobody can connect before uvicorn listens."""
    host, port = settings.server.host, settings.server.port
    if not is_loopback(host) and not settings.security.api_keys:
        raise ConfigError(
            f"refused to listen on {host} without [security] api_keys: anybody nearby could run commands",
            hint="set api_keys, or listen on 127.0.0.1",
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # a name may have addresses of both kinds; clients that are told 127.0.0.1 need the older
        family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise _cannot_listen((host, port), error) from error
    return listener


def _cannot_listen(address: Sequence[object], error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot listen on {':'.join(str(part) for part in address[:2])}: {error.strerror or error}",
        hint="is another server running there? 'ciab server status' tells; --port takes another",
    )


def _lines(parts: Parts, url: str) -> Iterator[str]:
    home = parts.outside.ec2.home
    yield f"CIAB {ciab.__version__} listens on {url}"
    if parts.outside.local:
        local = parts.outside.local
        yield f"  backend: local, an EC2 region on this machine; isolation: {local.region.isolation}"
        yield f"  region:  {local.keeper.folder}, log {local.keeper.log_file}"
    else:
        endpoint = f", endpoint {home.endpoint}" if home.endpoint else ""
        yield f"  backend: ec2, account {home.account}, region {home.region}{endpoint}"
    for warning in parts.outside.warnings:
        yield f"  WARNING: {warning}"
    yield f"  data:    {parts.outside.database.path}"
    made = ", made just now: keep a copy, the data opens with no other" if parts.outside.keys.made else ""
    yield f"  key:     {parts.outside.keys.source}{made}"
    yield f"  at the end of the server {_END[parts.outside.settings.runtime.ec2.on_shutdown]}"


async def _stopped_machines(parts: Parts) -> Sequence[str]:
    """A region that was started anew has stopped machines, whatever their sandboxes' state says."""
    local = parts.outside.local
    running = await every(parts.ports.store, {State.RUNNING})
    if local is None or not local.keeper.started or not running:
        return ()
    names = ", ".join(sandbox.name for sandbox in running)
    return (f"  the local region had ended; once shown as stopped, 'ciab sandbox start' brings back {names}",)


_END = {
    "cleanup": 'ephemeral sandboxes are terminated and persistent ones stopped (on_shutdown = "cleanup")',
    "keep": 'sandboxes are left as they are (on_shutdown = "keep")',
}


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # whoever read it may be gone; that must not stop an orderly end
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
