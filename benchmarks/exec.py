"""How long one command takes: the SSH adapter against `ssh` with ControlMaster, on the same sshd.

    python -m benchmarks.exec [--rounds N]

Each round runs `true` once by every way, in turn, so that what else this machine does meets all alike.
`channel` is a session of its own per command on an open asyncssh connection. Only the ratios mean
something elsewhere.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.openssh import OpenSsh, control_master
from ciab.adapters.ssh.login import log_in
from ciab.adapters.ssh.pool import Pool
from ciab.core.guest import Command
from tests.sshd import Sshd, sshd

PEER = "ssh ControlMaster"
AIM = 0.6
WARM_UP = 5
TRUE = Command(("true",))


async def measure(machine: Sshd, peer: OpenSsh, rounds: int) -> dict[str, list[float]]:
    """Seconds by way, sorted."""
    pool = Pool()
    connection = await pool.connect(machine.target)
    other = await log_in(machine.target)

    async def by_peer() -> None:
        peer.ssh("true")

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        PEER: by_peer,
        "adapter": lambda: connection.guest.run(TRUE, limit_bytes=1 << 20),
        "channel": lambda: other.run("true", check=True),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(WARM_UP + rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            took[name].append(time.perf_counter() - began)
    other.close()
    await other.wait_closed()
    await pool.close_all()
    return {name: sorted(times[WARM_UP:]) for name, times in took.items()}


def report(took: dict[str, list[float]]) -> None:
    """A line per way: p50 and p95 in ms, and their ratios to the peer's."""
    peer = took[PEER]
    for name, times in took.items():
        line = f"{name:20}"
        for percent in (50, 95):
            at = len(times) * percent // 100
            line += f" p{percent} {times[at] * 1000:6.2f} ms (x{times[at] / peer[at]:.2f})"
        print(line + (f"   aim: x{AIM} or less" if name == "adapter" else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory() as folder,
        sshd(Path(folder)) as machine,
        control_master(machine) as peer,
    ):
        report(asyncio.run(measure(machine, peer, rounds)))


if __name__ == "__main__":
    main()
