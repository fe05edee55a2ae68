"""Serves the region from a folder until a signal ends it, with whatever runs the machines."""

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass

from aiohttp import web

from ciab.localec2.api.addresses import AddressError, Addresses, claim_block
from ciab.localec2.api.engine import Engine
from ciab.localec2.api.faults import Faults
from ciab.localec2.api.folder import Folder
from ciab.localec2.api.shared import Shared
from ciab.localec2.api.web import Front
from ciab.localec2.host import MachineHost

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    port: int = 0
    """0: that of the last start where it is free, else any."""
    orphan_secs: float = 0
    """With no call for so long the region ends in an orderly way; 0: never."""
    reason: str | None = None
    """Why the machines are not isolated."""


async def serve(folder: Folder, host: MachineHost, faults: Faults, settings: Settings) -> None:
    """Serve until SIGTERM, SIGINT or nobody has called for `orphan_secs`; then stop all machines and save.

    `folder` must be claimed. Raises AddressError, also for a port that is taken, and StateError.
    """
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    remembered = folder.remembered()
    block, lease = claim_block(str(folder.path), remembered.get("block"))
    addresses = Addresses(
        block, remembered.get("cursor", 0), lambda b, cursor: folder.remember(block=b, cursor=cursor)
    )
    shared = Shared(faults, addresses, host)
    engine = Engine(folder, shared)
    front = Front(engine, shared)
    runner = web.AppRunner(front.app(), access_log=None, shutdown_timeout=2)
    await runner.setup()
    with lease, _listener(settings.port, remembered.get("port", 0)) as listener:
        try:
            await web.SockSite(runner, listener).start()
            _announce(folder, listener, host, settings.reason)
            await engine.load()
            await _until_end(ending, front, settings.orphan_secs)
        finally:
            await runner.cleanup()
            await engine.close()
            folder.withdraw()


def _announce(folder: Folder, listener: socket.socket, host: MachineHost, reason: str | None) -> None:
    port = listener.getsockname()[1]
    folder.remember(port=port)
    endpoint = {
        "endpoint": f"http://{_HOST}:{port}",
        "pid": os.getpid(),
        "isolation": host.isolation,
        "reason": reason,
    }
    folder.announce(endpoint)
    sys.stdout.write(json.dumps(endpoint) + "\n")
    sys.stdout.flush()


def _listener(port: int, last: int) -> socket.socket:
    if port == 0 and last:
        try:
            return _bound(last)
        except AddressError:
            pass  # somebody else has it now
    return _bound(port)


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # the last process's closed connections would keep its port for a minute
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as exc:
        listener.close()
        raise AddressError(f"cannot listen on {_HOST}:{port}: {exc.strerror}; give another port") from exc
    return listener


async def _until_end(ending: asyncio.Event, front: Front, orphan_secs: float) -> None:
    while not ending.is_set():
        left = orphan_secs - front.idle_secs if orphan_secs else None
        if left is not None and left <= 0:
            return
        try:
            async with asyncio.timeout(left):
                await ending.wait()
        except TimeoutError:
            continue
