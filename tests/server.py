"""The real server in a process of its own, for tests of whatever talks to it.

    async with server(tmp_path) as here:
        async with here.client() as client:
            info = await client.create_sandbox(SandboxSpec(agent_provider="command"))
        here.kill()
        here.start()

Its configuration, data and port are its own; nothing of the caller's AWS, CIAB or proxy settings reaches it.
`config` is `config.toml` as a dict; what a test does not set is the default, but for the database, which is
below `folder`, and the port, which is a free one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ciab.sdk.client import Client

START_SECS = 60.0
END_SECS = 180.0

Config = Mapping[str, Any]


@dataclass
class RunningServer:
    """The process. After `kill` or `end`, `start` begins a new one on the same data."""

    folder: Path
    config: Config = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def database(self) -> Path:
        """Its file; `encryption.key` lies beside it."""
        return self.folder / "data" / "ciab.db"

    @property
    def region_folder(self) -> Path:
        """Of the local region: `endpoint.json` in it says where it listens and its pid."""
        return self.database.with_suffix(".region")

    def start(self, *arguments: str) -> None:
        """Return when the server says that it listens."""
        process = self.spawn(*arguments)
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline:
            assert process.poll() is None, f"the server did not start:\n{self.output()}"
            found = [line for line in self._said() if " listens on " in line]
            if found:
                self.url = found[0].rpartition(" ")[2]
                return
            time.sleep(0.02)
        raise AssertionError(f"the server does not listen:\n{self.output()}")

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin the process and wait for nothing."""
        assert self._process is None, "end it first"
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "config.toml"
        file.write_text(toml({**self.config, **self._own()}))
        argv = [sys.executable, "-m", "ciab.cli.main", "server", "start", "--config", str(file), *arguments]
        with self._log.open("ab") as log:
            self._began = log.tell()
            self._process = subprocess.Popen(
                argv, stdout=log, stderr=subprocess.STDOUT, env=self._environment(), cwd=self.folder
            )
        return self._process

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask the process to end; its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Until the process has ended by itself; its exit code."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=END_SECS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the server does not end:\n{self.output()}") from None
        finally:
            self._process = None
        return code

    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As a crash ends it: no handler runs, and the local region lives on."""
        self.end(signal.SIGKILL)

    def refused(self) -> str:
        """Start it where it must not start: exit code 1. What it said, which is one line."""
        self.spawn()
        assert self.wait() == 1, self.output()
        said = "\n".join(self._said())
        assert "Traceback" not in said
        return said

    def output(self) -> str:
        """What all processes wrote, on standard output and error."""
        return self._log.read_text() if self._log.exists() else ""

    def client(self, api_key: str | None = None) -> Client:
        """A client of it; use it with `async with`."""
        return Client(self.url, api_key)

    def http(self, **options: Any) -> httpx.AsyncClient:
        """A plain HTTP client of it; use it with `async with`."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=60, **options)

    def region(self) -> dict[str, Any]:
        """What the local region says of itself: endpoint, pid, isolation."""
        said: dict[str, Any] = json.loads((self.region_folder / "endpoint.json").read_text())
        return said

    async def machines(self) -> list[dict[str, Any]]:
        """The instances of the local region that may cost something, as EC2 describes them."""
        from tests.region import RunningRegion

        region = RunningRegion(self.region_folder, endpoint=self.region()["endpoint"])
        async with region.client("ec2") as ec2:
            found = await ec2.describe_instances()
        instances = [one for reservation in found["Reservations"] for one in reservation["Instances"]]
        return [one for one in instances if one["State"]["Name"] not in ("shutting-down", "terminated")]

    def end_region(self) -> None:
        """End a region that a killed server left behind."""
        try:
            pid = self.region()["pid"]
            os.kill(pid, signal.SIGTERM)
            descriptor = os.pidfd_open(pid)
        except (OSError, ValueError):
            return
        import select

        select.select([descriptor], [], [], 30)
        os.close(descriptor)

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _said(self) -> list[str]:
        with self._log.open("rb") as log:
            log.seek(self._began)
            return log.read().decode().splitlines()

    def _own(self) -> dict[str, Any]:
        return {
            "server": {"port": 0, **self.config.get("server", {})},
            "database": {"url": f"sqlite:///{self.database}", **self.config.get("database", {})},
        }

    def _environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        return {name: os.environ[name] for name in kept if name in os.environ} | dict(self.environment)


@asynccontextmanager
async def server(
    folder: Path, config: Config | None = None, *, environment: Mapping[str, str] | None = None
) -> AsyncIterator[RunningServer]:
    """A server that is ended in an orderly way afterwards, its region too."""
    running = RunningServer(folder, config or {}, environment or {})
    try:
        running.start()
        yield running
    finally:
        running.end()
        running.end_region()


def toml(config: Config, prefix: str = "") -> str:
    """A configuration as text: tables, strings, numbers, booleans and lists of them."""
    values = {key: value for key, value in config.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in config.items() if isinstance(value, Mapping)}
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items()]
    head = [f"[{prefix}]"] if prefix and lines else []
    below = [
        toml(table, f"{prefix}.{json.dumps(key)}" if prefix else json.dumps(key))
        for key, table in tables.items()
    ]
    return "\n".join([*head, *lines, *below]) + "\n"
