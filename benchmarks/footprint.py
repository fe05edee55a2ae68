"""What CIAB costs without doing anything: the time to start, and the server's memory.

    python -m benchmarks.footprint [--sandboxes N] [--rounds N]

The command line's peer is a bare Python; the server's is a Python that imports the libraries the server is
made of, and runs nothing. A server starts on a database that is there, with its local region running, as
after a crash; memory is of the server's own process, beside that of the importing Python.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machines import PROCESS, created, serving
from benchmarks.processes import memory_mib
from benchmarks.rounds import measure, report
from tests.server import RunningServer

PYTHON = "python -c pass"
LIBRARIES = "the libraries alone"
IMPORTS = (
    "import aiobotocore.session, alembic.command, asyncssh, cryptography, fastapi, httptools, "
    "pydantic_settings, sqlalchemy.ext.asyncio, uvicorn, uvloop, websockets"
)
AT_ONCE = 4
"""Sandboxes that are created at one time."""


async def start_of_the_command(rounds: int) -> None:
    ways = {
        PYTHON: lambda: run(sys.executable, "-c", "pass"),
        "ciab --version": lambda: run(sys.executable, "-m", "ciab.cli.main", "--version"),
        "ciab sandbox --help": lambda: run(sys.executable, "-m", "ciab.cli.main", "sandbox", "--help"),
    }
    report("start of the command line", await measure(ways, rounds), PYTHON)


async def run(*argv: str) -> None:
    process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL)
    assert await process.wait() == 0


async def start_of_the_server(here: RunningServer, rounds: int) -> None:
    """From the command to `listens`. It is killed in between, so that its region goes on."""

    async def start() -> None:
        here.start()

    async def libraries() -> None:
        await run(sys.executable, "-c", IMPORTS)

    took: dict[str, list[float]] = {LIBRARIES: [], "ciab server start": []}
    for _ in range(rounds):
        here.kill()
        for name, times in (
            await measure({LIBRARIES: libraries, "ciab server start": start}, 1, warm_up=0)
        ).items():
            took[name] += times
    report("start of the server", took, LIBRARIES)


async def memory(here: RunningServer, sandboxes: int) -> None:
    peer = subprocess.Popen(
        [sys.executable, "-c", f"{IMPORTS}; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert peer.stdout
    peer.stdout.readline()
    libraries = memory_mib(peer.pid)
    peer.communicate(b"\n")
    print(f"memory of the server, ratios to {LIBRARIES}")
    tell_memory(LIBRARIES, libraries, libraries)
    here.kill()
    here.start()
    async with here.client() as client:
        await client.health()
        empty = memory_mib(here.pid)
        tell_memory("no sandbox", empty, libraries)
        await created(client)
        one = memory_mib(here.pid)
        tell_memory("1 running", one, libraries)
        room = asyncio.Semaphore(AT_ONCE)

        async def one_more() -> None:
            async with room:
                await created(client)

        await asyncio.gather(*(one_more() for _ in range(sandboxes - 1)))
        many = memory_mib(here.pid)
        tell_memory(f"{sandboxes} running", many, libraries)
        print(f"  each further sandbox {(many - one) / (sandboxes - 1):.2f} MiB")


def tell_memory(what: str, mib: float, peer: float) -> None:
    print(f"  {what:20} {mib:6.1f} MiB (x{mib / peer:.2f})")


async def main_run(sandboxes: int, rounds: int, folder: Path) -> None:
    await start_of_the_command(rounds)
    async with serving(PROCESS, folder) as here:
        await start_of_the_server(here, rounds)
        await memory(here, sandboxes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sandboxes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main_run(options.sandboxes, options.rounds, Path(folder)))


if __name__ == "__main__":
    main()
