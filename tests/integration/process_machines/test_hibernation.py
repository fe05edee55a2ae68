"""Hibernation of machines made of processes: everything but the SSH connections goes on where it was."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

from ciab.localec2.process.host import ProcessHost
from ciab.localec2.process.trees import descendants
from tests.integration.process_machines.launching import Launched, connect, launch, order, user_data
from tests.integration.process_machines.test_life import appears, arguments, marked, refuses

COUNTER = (
    "setsid sh -c 'n=0; while :; do n=$((n+1)); echo $n >>count; sleep 0.02; done' {mark} >/dev/null 2>&1 &"
)


async def resumed(machine: Launched) -> None:
    """Started again at another public address."""
    machine.order = replace(machine.order, public_ip=machine.order.private_ip.rsplit(".", 1)[0] + ".255")
    await machine.host.start(machine.order, machine.ended.set_result)


async def test_processes_go_on_where_they_were(host: ProcessHost, machine: Launched) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    await machine.run(COUNTER.format(mark=mark))
    await appears(mark)
    before = await machine.run("cat /proc/sys/kernel/random/boot_id; ps -eo pid=,args= | grep '[ ]mark-'")
    old = machine.order.public_ip
    assert old is not None
    assert await host.hibernate("i-0a")
    assert refuses(old) and refuses(machine.order.private_ip)
    await stand_still(mark)
    count = next(machine.order.folder.rglob("count"))
    kept = count.read_text()
    await resumed(machine)
    assert (
        await machine.run("cat /proc/sys/kernel/random/boot_id; ps -eo pid=,args= | grep '[ ]mark-'")
        == before
    )
    numbers = (await machine.run("until [ $(wc -l <count) -gt 300 ]; do sleep 0.05; done; cat count")).split()
    assert numbers == [str(n + 1) for n in range(len(numbers))]
    assert len(numbers) > len(kept.split())
    assert refuses(old)
    assert machine.order.public_ip is not None
    (await connect(machine.order.public_ip)).close()
    assert not machine.ended.done()


async def stand_still(mark: str) -> None:
    """Stopped; or, stopped in the middle of a vfork, waiting for a stopped child (D). A signal that was sent
    to a process that runs on the other processor takes a moment."""
    async with asyncio.timeout(5):
        while not all(state(pid) in "TD" for pid in marked(mark)):
            await asyncio.sleep(0.01)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_hibernating_twice_and_again(host: ProcessHost, machine: Launched) -> None:
    await machine.run("echo $$ >/dev/null; setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >pid")
    for _ in range(2):
        assert await host.hibernate("i-0a")
        assert await host.hibernate("i-0a")
        await resumed(machine)
        assert "sleep" in await machine.run("ps -o args= -p $(cat pid)")
    assert not await host.hibernate("i-unknown")


async def test_a_job_that_its_user_has_stopped_stays_stopped(host: ProcessHost, machine: Launched) -> None:
    await machine.run("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >pid")
    await machine.run("until ps -o args= -p $(cat pid) | grep -q ^sleep; do :; done; kill -STOP $(cat pid)")
    assert await host.hibernate("i-0a")
    await resumed(machine)
    assert (await machine.run("ps -o state= -p $(cat pid)")).strip() == "T"


async def test_a_hibernated_machine_can_be_ended(host: ProcessHost, machine: Launched) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    await machine.run(COUNTER.format(mark=mark))
    await appears(mark)
    assert await host.hibernate("i-0a")
    await host.destroy("i-0a")
    assert not marked(mark)
    assert not machine.order.folder.exists()
    assert not machine.ended.done()


async def test_what_dies_in_its_sleep_boots_anew(
    others: set[int], isolated: ProcessHost, tmp_path: Path
) -> None:
    machine = await launch(isolated, order(tmp_path))
    before = await machine.run("echo kept >note; cat /proc/sys/kernel/random/boot_id")
    assert await isolated.hibernate("i-0a")
    ours = set(descendants(os.getpid())) - others
    (outer,) = [pid for pid in ours if arguments(pid).split("\0")[0].endswith("bwrap")]
    os.kill(outer, signal.SIGKILL)
    async with asyncio.timeout(10):
        await machine.ended
    machine.ended = asyncio.get_running_loop().create_future()
    await resumed(machine)
    assert await machine.run("cat note") == "kept\n"
    assert await machine.run("cat /proc/sys/kernel/random/boot_id") != before


async def test_hibernating_during_the_boot_commands(host: ProcessHost, tmp_path: Path) -> None:
    machine = await launch(host, order(tmp_path, data=user_data(bootcmd=["sleep 0.5"])))
    hibernating = asyncio.create_task(host.hibernate("i-0a"))
    assert await hibernating
    await resumed(machine)
    assert await machine.run("echo up") == "up\n"
