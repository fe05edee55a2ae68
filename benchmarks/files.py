"""How fast a large file goes up and down, against `sftp` on the same machine.

    python -m benchmarks.files [--megabytes N] [--rounds N]

First by the SSH adapter alone, on OpenSSH's sshd; then through the REST API of a server in a process of its
own. The ways take turns. `sftp` uses an open ControlMaster connection, so no login is counted. Memory is how
much the process that does the work grew beyond what it had before.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from benchmarks.machines import created, kinds, let_in, serving
from benchmarks.openssh import OpenSsh, control_master
from benchmarks.processes import peak_mib
from benchmarks.rounds import measure
from ciab.adapters.ssh.pool import Pool
from ciab.core.ports import Files
from tests.sshd import sshd

CHUNK = 1 << 16
"""Bytes of one read of a local file, and about what an HTTP body brings at a time."""


@dataclass(frozen=True)
class Ours:
    """Our two ways between a local file and one on a machine."""

    where: str
    up: Callable[[Path], Awaitable[object]]
    down: Callable[[Path], Awaitable[object]]


async def compare(peer: OpenSsh, remote: str, ours: Ours, local: Path, rounds: int) -> None:
    """Each direction, in turn with sftp's; the ratio is of speeds."""

    async def sftp(command: str) -> None:
        peer.sftp(command)

    up = {"sftp": lambda: sftp(f"put {local} {remote}\n"), "ours": lambda: ours.up(local)}
    down = {"sftp": lambda: sftp(f"get {remote} {local}\n"), "ours": lambda: ours.down(local)}
    size = local.stat().st_size
    print(f"a file of {size >> 20} MiB, {ours.where}; median of {rounds} rounds, ratios of speed to sftp")
    for direction, ways in (("up", up), ("down", down)):
        took = await measure(ways, rounds, warm_up=1)
        peers = size / median(took["sftp"])
        for name, times in took.items():
            speed = size / median(times)
            print(f"  {direction:4} {name:4} {speed / 1e6:7.0f} MB/s (x{speed / peers:.2f})")


async def by_adapter(local: Path, rounds: int, folder: Path) -> None:
    pool = Pool()
    with sshd(folder / "sshd") as machine, control_master(machine.target) as peer:
        files = (await pool.connect(machine.target)).files
        remote = str(folder / "there")
        ours = Ours(
            "the SSH adapter alone, OpenSSH's sshd",
            up=lambda path: files.write(remote, read(path)),
            down=lambda path: download(files, remote, path),
        )
        before = peak_mib()
        await compare(peer, remote, ours, local, rounds)
        print(f"  memory grew by {peak_mib() - before:.0f} MiB")
        await pool.close_all()


async def by_api(kind: str, local: Path, rounds: int, folder: Path) -> None:
    async with serving(kind, folder) as here, here.client() as client, here.http() as http:
        info = await created(client)
        with control_master(await let_in(client, info)) as peer:
            url = f"/api/v1/sandboxes/{info.id}/files/~/there"
            ours = Ours(
                f"the REST API, {kind}",
                up=lambda path: upload(http, url, path),
                down=lambda path: fetch(http, url, path),
            )
            before = peak_mib(here.pid)
            await compare(peer, "there", ours, local, rounds)
            print(f"  the server's memory grew by {peak_mib(here.pid) - before:.0f} MiB")


async def read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


async def download(files: Files, remote: str, to: Path) -> None:
    with to.open("wb") as file:
        async for chunk in files.read(remote):
            file.write(chunk)


async def upload(http: httpx.AsyncClient, url: str, path: Path) -> None:
    (await http.put(url, content=read(path))).raise_for_status()


async def fetch(http: httpx.AsyncClient, url: str, to: Path) -> None:
    async with http.stream("GET", url) as answer:
        answer.raise_for_status()
        with to.open("wb") as file:
            async for chunk in answer.aiter_bytes():
                file.write(chunk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        local = folder / "here"
        with local.open("wb") as file:
            for _ in range(options.megabytes):
                file.write(bytes(1 << 20))
        asyncio.run(by_adapter(local, options.rounds, folder))
        for number, kind in enumerate(kinds()):
            asyncio.run(by_api(kind, local, options.rounds, folder / str(number)))


if __name__ == "__main__":
    main()
