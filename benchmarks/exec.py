"""How long one command takes, against `ssh` with ControlMaster on the same machine.

    python -m benchmarks.exec [--rounds N]

First through the SSH adapter alone, on OpenSSH's sshd; `channel` is a session of its own per command on an
open asyncssh connection. Then through the REST API, on a machine of the local region. Each round runs `true`
once by every way, in turn, so that what else this computer does meets all alike. Only the ratios mean
something elsewhere.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from benchmarks.openssh import OpenSsh, control_master
from ciab.adapters.ssh.keys import mint
from ciab.adapters.ssh.login import log_in
from ciab.adapters.ssh.pool import Pool
from ciab.core.guest import Command, Target
from ciab.core.ids import SandboxId
from ciab.schema.exec import ExecRequest
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.server import server
from tests.sshd import sshd

PEER = "ssh ControlMaster"
AIMS = {"adapter": 0.6, "REST API": 1.0}
WARM_UP = 5

Ways = Mapping[str, Callable[[], Awaitable[object]]]


async def measure(ways: Ways, rounds: int) -> dict[str, list[float]]:
    """Seconds by way, sorted."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(WARM_UP + rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            took[name].append(time.perf_counter() - began)
    return {name: sorted(times[WARM_UP:]) for name, times in took.items()}


async def by_adapter(rounds: int, folder: Path) -> None:
    """The SSH adapter alone."""
    pool = Pool()
    with sshd(folder) as machine, control_master(machine.target) as peer:
        connection = await pool.connect(machine.target)
        other = await log_in(machine.target)
        true = Command(("true",))
        ways: Ways = {
            PEER: _peer(peer),
            "adapter": lambda: connection.guest.run(true, limit_bytes=1 << 20),
            "channel": lambda: other.run("true", check=True),
        }
        report("OpenSSH's sshd", await measure(ways, rounds))
        other.close()
        await other.wait_closed()
        await pool.close_all()


async def by_api(rounds: int, folder: Path) -> None:
    """The whole way: HTTP, control plane, adapter."""
    async with server(folder) as here, here.client() as client:
        info = await client.create_sandbox(SandboxSpec(agent_provider="command", name="bench"))
        info = await client.wait_until(info.id)
        with control_master(await _let_in(client, info.id)) as peer:
            request = ExecRequest(command=["true"])
            ways: Ways = {PEER: _peer(peer), "REST API": lambda: client.exec(info.id, request)}
            report("a machine of the local region", await measure(ways, rounds))


async def _let_in(client: Client, sandbox_id: str) -> Target:
    """Let a key of the benchmark's own in."""
    pair = mint().user
    access = await client.ssh_access(sandbox_id, pair.public)
    info = await client.get_sandbox(sandbox_id)
    host = str(info.instance and info.instance.public_ip)
    return Target(SandboxId(sandbox_id), host, access.port, access.user, access.host_key, pair.private)


def _peer(peer: OpenSsh) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        peer.ssh("true")

    return run


def report(where: str, took: Mapping[str, list[float]]) -> None:
    """A line per way: p50 and p95 in ms, and their ratios to the peer's."""
    print(f"exec of `true` on {where}")
    peer = took[PEER]
    for name, times in took.items():
        line = f"  {name:18}"
        for percent in (50, 95):
            at = len(times) * percent // 100
            line += f" p{percent} {times[at] * 1000:6.2f} ms (x{times[at] / peer[at]:.2f})"
        print(line + (f"   aim: x{AIMS[name]} or less" if name in AIMS else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(by_adapter(rounds, Path(folder) / "sshd"))
        asyncio.run(by_api(rounds, Path(folder) / "server"))


if __name__ == "__main__":
    main()
