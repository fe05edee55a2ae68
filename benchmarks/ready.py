"""From the moment that a machine's SSH server answers to `running`, as a client sees it on the event stream.

    python -m benchmarks.ready [--process N] [--image N]

Sandboxes are created one after another. The machine is probed from its launch on, by another process, every
10 ms, at its private address, which is known before the public one that the control plane uses. The peer is
what OpenSSH's client takes for one cold login and `true` on that very machine, just afterwards: nothing can
be said to be ready much sooner than that.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from benchmarks.machines import PROCESS, created, kinds, let_in, serving
from benchmarks.openssh import open_ssh
from benchmarks.rounds import report
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client

PEER = "cold ssh login and `true`"
OURS = "SSH answers to running"
AIM = "under 300 ms"

Probe = asyncio.subprocess.Process


@asynccontextmanager
async def probing() -> AsyncIterator[Probe]:
    pipe = asyncio.subprocess.PIPE
    probe = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.probe", stdin=pipe, stdout=pipe
    )
    try:
        yield probe
    finally:
        assert probe.stdin
        probe.stdin.close()
        await probe.wait()


async def time_one(client: Client, port: str, probe: Probe) -> tuple[float, float]:
    """Seconds of ours and of the peer's."""
    made = await client.create_sandbox(SandboxSpec(agent_provider="command"))
    asked = False
    async with aclosing(client.events(made.id)) as events:
        async for event in events:
            if not asked and event.data.get("step") == "launch_machine" and event.data["status"] == "done":
                asked = True
                await _ask(client, made.id, port, probe)
            if event.data.get("to") == "running":
                running = time.monotonic()
                break
            if event.data.get("to") == "terminating":
                raise RuntimeError(f"the sandbox failed: {event.data}")
    assert probe.stdout
    answered = int(await probe.stdout.readline()) / 1e9
    with open_ssh(await let_in(client, await client.get_sandbox(made.id))) as peer:
        began = time.perf_counter()
        await asyncio.to_thread(peer.ssh, "true")
        took = time.perf_counter() - began
    await client.delete_sandbox(made.id)
    return running - answered, took


async def _ask(client: Client, sandbox_id: str, port: str, probe: Probe) -> None:
    info = await client.get_sandbox(sandbox_id)
    assert info.instance and probe.stdin
    probe.stdin.write(f"{info.instance.private_ip} {port}\n".encode())


async def measure_kind(kind: str, count: int, folder: Path) -> None:
    async with serving(kind, folder) as here, here.client() as client, probing() as probe:
        first = await created(client)  # this one also finds the image
        port = str(first.endpoint_url).rpartition(":")[2]
        await client.delete_sandbox(first.id)
        took: dict[str, list[float]] = {PEER: [], OURS: []}
        for _ in range(count):
            ours, peer = await time_one(client, port, probe)
            took[OURS].append(ours)
            took[PEER].append(peer)
    report(f"ready: {kind}", took, PEER, {OURS: AIM})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--process", type=int, default=15, help="how many process machines")
    parser.add_argument("--image", type=int, default=6, help="how many real ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(kinds()):
            count = options.process if kind == PROCESS else options.image
            asyncio.run(measure_kind(kind, count, Path(folder) / str(number)))


if __name__ == "__main__":
    main()
