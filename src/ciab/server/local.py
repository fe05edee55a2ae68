"""The local region's process: started, found again after a crash of the server, kept alive, ended.

It has a session, an environment and a log of its own, so that neither ^C nor the server's end takes it
along. It ends by itself when it has not heard of a server for `ORPHAN_SECS`.
"""

import asyncio
import fcntl
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ciab.core.errors import ConfigError

log = logging.getLogger(__name__)

ORPHAN_SECS = 600
PING_SECS = 30.0
START_SECS = 30.0
END_SECS = 20.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
"""Of the server's environment: no AWS, no CIAB, no proxies."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Region:
    """The process as it announced itself. `reason`: why its machines are not isolated."""

    endpoint: str
    pid: int
    isolation: str
    reason: str | None = None


class LocalRegion:
    """The region in `folder`. Its address stays the same however often the process is started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def name(self) -> str:
        """What tells this region from any other; its port may change."""
        return f"local:{self.folder}"

    @property
    def started(self) -> bool:
        """Whether it was this server that started the process."""
        return self._child is not None

    @property
    def log_file(self) -> Path:
        """What the process writes."""
        return self.folder.parent / f"{self.folder.name}.log"

    async def open(self) -> Region:
        """The region that still runs in the folder, else a new one. Raises ConfigError when none starts."""
        _check_possible()
        deadline = time.monotonic() + START_SECS
        while True:
            if region := await self.running():
                return region
            trouble = await asyncio.to_thread(self._start)
            if trouble is None:
                continue
            if time.monotonic() > deadline or "served already" not in trouble:
                raise ConfigError(
                    f"the local region did not start: {trouble}", hint=f"its log is {self.log_file}"
                )
            await asyncio.sleep(0.2)  # another one is beginning, or ending

    async def watch(self, say: Say) -> None:
        """Show that a server lives, and start the process again whenever it ends, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            if region := await self.running():
                await self._until_it_ends(region.pid)
            if time.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE  # it lived: this is not the same trouble over and over
            say(f"the local region ended unexpectedly; starting it again (its log is {self.log_file})")
            try:
                await self.open()
                say(
                    "the local region is back; its machines are stopped: "
                    "once shown so, 'ciab sandbox start' brings them back"
                )
            except ConfigError as error:
                say(error.message)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def stop(self) -> None:
        """End it in an orderly way: its machines stop, its state is saved."""
        region = await self.running()
        if region is None:
            return
        ended = asyncio.create_task(_ended(region.pid))
        os.kill(region.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(END_SECS):
                await ended
        except TimeoutError:
            log.warning("local region does not end", extra={"action": "region_stuck", "pid": region.pid})
        self._reap()

    async def _until_it_ends(self, pid: int) -> None:
        ended = asyncio.create_task(_ended(pid))
        try:
            while not (await asyncio.wait({ended}, timeout=PING_SECS))[0]:
                await self.running()  # asking is the sign of life
        finally:
            ended.cancel()
        self._reap()

    def _reap(self) -> None:
        if self._child:
            self._child.poll()

    async def running(self) -> Region | None:
        """The process that serves this folder, if it answers."""
        try:
            said = json.loads((self.folder / "endpoint.json").read_text())
            region = Region(said["endpoint"], said["pid"], said["isolation"], said.get("reason"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        # its port may be another region's by now: only who holds the folder's lock counts
        if self._serving_pid() != region.pid or not await _answers(region.endpoint):
            return None
        self._port = urlsplit(region.endpoint).port or 0
        return region

    def _serving_pid(self) -> int | None:
        """The process that holds the folder's lock."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(descriptor, 20, 0).decode().strip() or 0)
        finally:
            os.close(descriptor)
        return None

    def _start(self) -> str | None:
        """Start a process and wait until it serves; if it does not, what it said."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        argv = [sys.executable, "-m", "ciab.localec2", "--dir", str(self.folder), "--machines", "process"]
        argv += ["--orphan-secs", str(ORPHAN_SECS), "--port", str(self._port)]
        with self.log_file.open("ab") as output:
            began = output.tell()
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                env=_environment(os.environ),
                cwd=self.folder,
                start_new_session=True,
            )
        assert self._child.stdout is not None  # noqa: S101 - a pipe was asked for
        patience = threading.Timer(START_SECS, self._child.kill)
        patience.start()
        with self._child.stdout as said:
            line = said.readline()
        patience.cancel()
        if line:
            return None
        self._child.wait()
        with self.log_file.open("rb") as written:
            written.seek(began)
            lines = written.read().decode("utf-8", "replace").splitlines()
        return lines[-1] if lines else f"it ended with {self._child.returncode}"


def _check_possible() -> None:
    if sys.platform != "linux":
        raise ConfigError(
            'backend = "local" runs on Linux only', hint='set [runtime] backend = "ec2" to use AWS'
        )
    if not all(importlib.util.find_spec(name) for name in ("moto", "aiohttp", "yaml")):
        raise ConfigError(
            'backend = "local" needs packages that are not installed',
            hint="pip install 'ciab[local]', or set [runtime] backend = \"ec2\"",
        )


def _environment(mine: Mapping[str, str]) -> dict[str, str]:
    return {name: mine[name] for name in _KEPT_VARIABLES if name in mine}


async def _ended(pid: int) -> None:
    """Wait for the end of any process, a child or not."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _answers(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(b"GET /_ciab/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return False
