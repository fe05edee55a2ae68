"""How long one command takes, against `ssh` with ControlMaster on the same machine.

    python -m benchmarks.exec [--rounds N]

First through the SSH adapter alone, on OpenSSH's sshd; `channel` is a session of its own per command on an
open asyncssh connection. Then through the REST API of a server in a process of its own, by a plain HTTP
client that keeps its connection, and by the SDK. Each round runs `true` once by every way, in turn.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.machines import created, kinds, let_in, serving
from benchmarks.openssh import OpenSsh, control_master
from benchmarks.rounds import Ways, measure, report
from ciab.adapters.ssh.login import log_in
from ciab.adapters.ssh.pool import Pool
from ciab.core.guest import Command
from ciab.schema.exec import ExecRequest
from tests.sshd import sshd

PEER = "ssh ControlMaster"
AIMS = {"adapter": "x0.6 or less", "REST, plain": "x1.0 or less", "REST, SDK": "x1.0 or less"}


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
        report("exec of `true` on OpenSSH's sshd", await measure(ways, rounds), PEER, AIMS)
        other.close()
        await other.wait_closed()
        await pool.close_all()


async def by_api(kind: str, rounds: int, folder: Path) -> None:
    """The whole way: HTTP, control plane, adapter, machine."""
    async with serving(kind, folder) as here, here.client() as client, here.http() as http:
        info = await created(client)
        with control_master(await let_in(client, info)) as peer:
            request = ExecRequest(command=["true"])
            path, body = f"/api/v1/sandboxes/{info.id}/exec", {"command": ["true"]}

            async def plain() -> None:
                answer = await http.post(path, json=body)
                assert answer.json()["exit_code"] == 0

            ways: Ways = {
                PEER: _peer(peer),
                "REST, plain": plain,
                "REST, SDK": lambda: client.exec(info.id, request),
            }
            report(f"exec of `true` on {kind}", await measure(ways, rounds), PEER, AIMS)


def _peer(peer: OpenSsh) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        peer.ssh("true")

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=150)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(by_adapter(rounds, Path(folder) / "sshd"))
        for number, kind in enumerate(kinds()):
            asyncio.run(by_api(kind, rounds, Path(folder) / str(number)))


if __name__ == "__main__":
    main()
