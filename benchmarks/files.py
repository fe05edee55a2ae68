"""How fast a large file goes up and down: the SSH adapter against `sftp`, on the same sshd.

    python -m benchmarks.files [--megabytes N] [--rounds N]

The ways take turns. `sftp` uses an open ControlMaster connection, so no login is counted. Memory is how much
this process grew, with the file far larger than that. Only the ratios mean something elsewhere.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from statistics import median

from benchmarks.openssh import OpenSsh, control_master
from ciab.adapters.ssh.pool import Pool
from ciab.core.ports import Files
from tests.sshd import Sshd, sshd

AIM = 1.0
CHUNK = 1 << 16
"""Bytes of one read of a local file, and about what an HTTP body brings at a time."""


async def measure(
    machine: Sshd, peer: OpenSsh, folder: Path, size: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds by way."""
    pool = Pool()
    files = (await pool.connect(machine.target)).files
    here, there = folder / "here", folder / "there"
    with here.open("wb") as file:
        for _ in range(size // (1 << 20)):
            file.write(bytes(1 << 20))

    async def peer_up() -> None:
        peer.sftp(f"put {here} {there}\n")

    async def peer_down() -> None:
        peer.sftp(f"get {there} {here}\n")

    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "sftp up": peer_up,
        "adapter up": lambda: files.write(str(there), _read(here)),
        "sftp down": peer_down,
        "adapter down": lambda: _download(files, str(there), here),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            took[name].append(time.perf_counter() - began)
    await pool.close_all()
    return took


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


async def _download(files: Files, path: str, to: Path) -> None:
    with to.open("wb") as file:
        async for chunk in files.read(path):
            file.write(chunk)


def report(took: dict[str, list[float]], size: int, grown_kib: int) -> None:
    """A line per way; the ratio is of speeds."""
    for name, times in took.items():
        speed = size / median(times)
        peer = size / median(took[f"sftp {name.split()[1]}"])
        print(f"{name:14} {speed / 1e6:7.0f} MB/s (x{speed / peer:.2f})", end="")
        print(f"   aim: x{AIM} or more" if name.startswith("adapter") else "")
    print(f"memory grew by {grown_kib / 1024:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    size = arguments.megabytes << 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with sshd(folder / "sshd") as machine, control_master(machine.target) as peer:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            took = asyncio.run(measure(machine, peer, folder, size, arguments.rounds))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    report(took, size, grown)


if __name__ == "__main__":
    main()
