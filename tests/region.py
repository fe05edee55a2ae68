"""A local region in a process of its own, for tests of whatever talks to EC2.

    async with region(tmp_path / "region", faults={"pending_secs": 0}) as here:
        async with here.client("ec2") as ec2: ...
        await here.set_faults(throttle=[{"action": "RunInstances", "times": 2}])
        assert (await here.calls())["counts"]["us-east-1"]["RunInstances"] == 3

Faults that are not given are the region's own; `rate_scale` is 0, no limits, unless a test asks for them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

REGION = "us-east-1"
SSH_PORT = 2222

# process machines run without root, so their sshd cannot have port 22
USER_DATA = f"""#cloud-config
write_files:
  - path: /etc/ssh/sshd_config.d/10-port.conf
    content: "Port {SSH_PORT}\\n"
"""

UBUNTU = "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id"


@dataclass
class RunningRegion:
    """The process and its endpoint. After `kill` or `end`, `start` begins a new one on the same folder."""

    folder: Path
    faults: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    endpoint: str = ""
    pid: int = 0
    isolation: str = ""
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the region says that it serves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=subprocess.PIPE, stderr=log, env=_environment()
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise AssertionError(f"the region did not start: {self.log()}")
        said = json.loads(line)
        self.endpoint, self.pid, self.isolation = said["endpoint"], said["pid"], said["isolation"]

    def command(self) -> list[str]:
        faults = json.dumps({"rate_scale": 0, **self.faults})
        own = ["--dir", str(self.folder), "--faults", faults]
        return [sys.executable, "-m", "ciab.localec2", *own, *self.arguments]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask the process to end; its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def wait(self) -> int:
        """Until the process has ended by itself; its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout=30)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        return code

    def log(self) -> str:
        """What all processes on this folder wrote on stderr."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text()

    def client(
        self, service: str, aws_region: str = REGION, *, attempts: int = 1
    ) -> AbstractAsyncContextManager[Any]:
        """An aiobotocore client. `attempts` in all: 1 shows each answer as it came."""
        config = AioConfig(
            retries={"total_max_attempts": attempts, "mode": "standard"}, connect_timeout=5, read_timeout=30
        )
        made: AbstractAsyncContextManager[Any] = _session().create_client(
            service,
            region_name=aws_region,
            endpoint_url=self.endpoint,
            aws_access_key_id="AKIALOCALREGION00000",
            aws_secret_access_key="any",
            config=config,
        )
        return made

    async def faults_now(self) -> dict[str, Any]:
        """The whole document; what has happened `times` is counted down in it."""
        async with httpx.AsyncClient(base_url=self.endpoint, trust_env=False) as http:
            shown: dict[str, Any] = (await http.get("/_ciab/faults")).json()
            return shown

    async def set_faults(self, **changes: Any) -> None:
        """Change these keys of the faults, leave the others."""
        async with httpx.AsyncClient(base_url=self.endpoint, trust_env=False) as http:
            answer = await http.put("/_ciab/faults", json={**await self.faults_now(), **changes})
            assert answer.status_code == 200, answer.text

    async def calls(self) -> dict[str, Any]:
        """{"counts": {region: {action: n}}, "last": [...]}: what the region was asked."""
        async with httpx.AsyncClient(base_url=self.endpoint, trust_env=False) as http:
            shown: dict[str, Any] = (await http.get("/_ciab/calls")).json()
            return shown

    async def interrupt(self, instance_id: str, secs: float) -> tuple[int, dict[str, Any]]:
        """Take a spot instance back after so many seconds; the answer's HTTP status and what it says."""
        async with httpx.AsyncClient(base_url=self.endpoint, trust_env=False) as http:
            asked = {"instance": instance_id, "secs": secs}
            answer = await http.post("/_ciab/interrupt", json=asked)
            return answer.status_code, answer.json()

    async def health(self) -> None:
        """Show a sign of life."""
        async with httpx.AsyncClient(base_url=self.endpoint, trust_env=False) as http:
            assert (await http.get("/_ciab/health")).json() == {"ok": True}


@asynccontextmanager
async def region(
    folder: Path, *, faults: Mapping[str, Any] | None = None, arguments: tuple[str, ...] = ()
) -> AsyncIterator[RunningRegion]:
    """A region that serves from `folder`, ended in an orderly way; its machines are processes."""
    running = RunningRegion(folder, faults or {}, arguments)
    running.start()
    try:
        yield running
    finally:
        running.end()


@cache
def _session() -> AioSession:
    """One: it keeps the API's description, which takes a third of a second to read."""
    return get_session()


def _environment() -> dict[str, str]:
    """Nothing of the caller's AWS settings, which the region must not need."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
