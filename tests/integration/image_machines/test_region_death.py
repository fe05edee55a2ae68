"""However the process that owns image machines dies, nothing of a machine outlives it."""

import asyncio
import os
import pickle
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ciab.localec2.image.cgroup import own_cgroup
from ciab.localec2.image.host import ImageHost

pytestmark = pytest.mark.image

_REGION = """
import asyncio, pickle, sys
from pathlib import Path
from ciab.localec2.image.host import ImageHost

async def main():
    rootfs, orders = pickle.load(sys.stdin.buffer)
    host = ImageHost(orders[0].folder.parent, rootfs)
    for order in orders:
        await host.start(order, lambda code: None)
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def dying_region(region, client, agent_client, root_file_system):
    """A region in a process of its own, with two machines that let us in."""
    orders = [region.order(client.data), region.order(agent_client.data)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _REGION), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    process.stdin.write(pickle.dumps((root_file_system, orders)))
    process.stdin.write_eof()
    assert await process.stdout.readline() == b"started\n"
    await client.run(orders[0].public_ip, "true")
    await agent_client.run(orders[1].public_ip, "true")
    yield process, orders
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = _parent(int(entry.name))
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _namespaces(pids) -> set[str]:
    """Every namespace that some process of `pids` is in."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            found |= {str(kind.readlink()) for kind in Path(f"/proc/{pid}/ns").iterdir()}
    return found


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


async def _until_gone(pids: set[int]) -> None:
    """Waits for the kernel: a killed process is gone a little later than its killer returns."""
    async with asyncio.timeout(10):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.02)


async def test_kill_9_of_the_region_leaves_no_process_mount_namespace_cable_or_cgroup(dying_region, region):
    process, orders = dying_region
    inside = _descendants(process.pid)
    own = _namespaces([os.getpid(), process.pid])
    made = _namespaces(inside) - own
    cables = Path("/proc/net/dev").read_text().count(":")
    assert len(inside) > 10
    assert len(made) >= 2 * 6
    assert not [line for line in _mounts() if str(region.folder) in line]

    process.send_signal(signal.SIGKILL)
    await process.wait()
    await _until_gone(inside)

    assert not _namespaces(_all_pids()) & made
    assert not [line for line in _mounts() if str(region.folder) in line]
    assert Path("/proc/net/dev").read_text().count(":") == cables
    assert not list(own_cgroup().rglob(f"ciab-*{orders[0].instance_id}"))
    for order in orders:
        assert await region.refuses(order.public_ip)


async def test_killed_machines_start_again_from_their_disks(dying_region, region, client):
    process, orders = dying_region
    await client.run(orders[0].public_ip, "echo kept > ~/note; sync")
    inside = _descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await _until_gone(inside)
    await region.start(orders[0])
    assert await client.run(orders[0].public_ip, "cat ~/note") == "kept"


async def test_killed_launcher_is_the_machines_end(dying_region, region):
    """Nothing is left even if the launcher could not clean up; its empty cgroup goes with the next host."""
    process, orders = dying_region
    launchers = [pid for pid in _descendants(process.pid) if _parent(pid) == process.pid]
    inside = _descendants(process.pid)
    for pid in (process.pid, *launchers):
        os.kill(pid, signal.SIGKILL)
    await process.wait()
    await _until_gone(inside)
    assert list(own_cgroup().rglob(f"ciab-*{orders[0].instance_id}"))
    ImageHost(region.folder, Path("/nonexistent"))
    assert not list(own_cgroup().rglob(f"ciab-*{orders[0].instance_id}"))
