"""Boot, stop, start, power-off, reboot and death of machines made of processes."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from ciab.localec2.host import MachineError
from ciab.localec2.process.host import ProcessHost
from ciab.localec2.process.trees import descendants
from tests.integration.process_machines.launching import (
    HOST_KEY,
    PORT,
    Launched,
    connect,
    launch,
    order,
    public_line,
    user_data,
)


def refuses(address: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex((address, PORT)) != 0


async def pid_of(machine: Launched, command: str) -> int:
    """Start it in the background, detached, and return its pid as the machine sees it."""
    return int(await machine.run(f"setsid {command} </dev/null >/dev/null 2>&1 & echo $!"))


def marked(mark: str) -> list[int]:
    """Host pids of processes with this word among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if mark.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


async def appears(mark: str) -> None:
    """Wait for a process that a shell has sent to the background."""
    async with asyncio.timeout(10):
        while not marked(mark):
            await asyncio.sleep(0.01)


async def test_boots_with_keys_and_user_of_the_user_data(machine: Launched) -> None:
    async with await machine.connect() as connection:
        assert public_line(connection.get_server_host_key()) == public_line(HOST_KEY)
        assert (await connection.run("echo $USER ~ $PWD")).stdout.split()[0] == "ubuntu"
    assert machine.order.public_ip is not None
    (await connect(machine.order.public_ip)).close()


async def test_is_refused_until_the_server_is_up(host: ProcessHost, tmp_path: Path) -> None:
    machine = await launch(host, order(tmp_path))
    assert refuses(machine.order.private_ip)
    (await machine.connect()).close()


async def test_console_tells_the_boot_without_secrets(host: ProcessHost, tmp_path: Path) -> None:
    data = user_data(runcmd=["echo from runcmd", ["touch", "made by runcmd"], "echo at its end"])
    machine = await launch(host, order(tmp_path, data=data))
    assert await machine.run("until [ -e 'made by runcmd' ]; do sleep 0.01; done; echo yes") == "yes\n"
    while "at its end" not in host.console("i-0a"):
        await asyncio.sleep(0.01)  # a file that another process appends to
    text = host.console("i-0a")
    assert text.index("sshd listens") < text.index("from runcmd")
    assert "PRIVATE KEY" not in text
    assert host.console("i-unknown") == ""


async def test_the_host_key_is_in_no_argument_environment_or_file(machine: Launched) -> None:
    (await machine.connect()).close()
    secret = HOST_KEY.export_private_key().decode().splitlines()[2].encode()
    for pid in descendants(os.getpid()):
        for part in ("cmdline", "environ"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                assert secret not in Path(f"/proc/{pid}/{part}").read_bytes()
    for root, _, names in os.walk(machine.order.folder):
        for name in names:
            assert secret not in Path(root, name).read_bytes()


async def test_home_and_var_tmp_outlive_a_stop_and_runcmd_is_not_repeated(
    host: ProcessHost, tmp_path: Path
) -> None:
    machine = await launch(host, order(tmp_path, data=user_data(runcmd=["echo once >> runs"])))
    await machine.run("until [ -e runs ]; do sleep 0.01; done; echo kept > file")
    boot_id = await machine.run("cat /proc/sys/kernel/random/boot_id")
    if host.isolation == "bubblewrap":
        await machine.run("echo kept > /var/tmp/file")
    old = machine.order.public_ip
    await machine.stop()
    new = machine.order.private_ip.rsplit(".", 1)[0] + ".255"
    await machine.start_again(new)
    assert await machine.run("cat file runs") == "kept\nonce\n"
    assert old is not None and refuses(old)
    (await connect(new)).close()
    if host.isolation == "bubblewrap":
        assert await machine.run("cat /var/tmp/file") == "kept\n"
        assert await machine.run("cat /proc/sys/kernel/random/boot_id") != boot_id


@pytest.mark.parametrize("force", [False, True])
async def test_stop_ends_every_process(others: set[int], machine: Launched, force: bool) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    await machine.run(
        f"setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' {mark} </dev/null >/dev/null 2>&1 &"
        f"(setsid sh -c '(sleep 1000 & wait) & exit' {mark} </dev/null >/dev/null 2>&1 &)"
    )
    await appears(mark)
    await machine.stop(force=force)
    assert refuses(machine.order.private_ip)
    assert not marked(mark)
    left = set(descendants(os.getpid())) - others
    assert not [pid for pid in left if "ciab.localec2" in arguments(pid)]
    assert not machine.ended.done()


def arguments(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


async def test_background_processes_outlive_their_session(machine: Launched) -> None:
    pid = await pid_of(machine, "sleep 1000")
    assert await machine.run(f"ps -o args= -p {pid}") == "sleep 1000\n"


@pytest.mark.parametrize("command", ["poweroff", "halt", "shutdown -h now", "systemctl poweroff"])
async def test_power_off_inside_ends_this_machine_only(
    host: ProcessHost, tmp_path: Path, command: str
) -> None:
    machine, other = [await launch(host, order(tmp_path, name)) for name in ("i-0a", "i-0b")]
    async with await machine.connect() as connection:
        await connection.run(f"sudo {command}")
    async with asyncio.timeout(20):
        assert await machine.ended == 0
    assert refuses(machine.order.private_ip)
    assert await other.run("echo alive") == "alive\n"
    await machine.stop()  # not known any more: no error


async def test_reboot_inside_boots_the_machine_again(machine: Launched) -> None:
    await machine.run("echo kept > file")
    pid = await pid_of(machine, "sleep 1000")
    async with await machine.connect() as connection:
        await connection.run("sudo reboot")
    assert await machine.run("cat file") == "kept\n"
    async with await machine.connect() as connection:
        assert (await connection.run(f"ps -o args= -p {pid}")).stdout != "sleep 1000\n"
    assert not machine.ended.done()


async def test_kill_minus_one_stays_inside(host: ProcessHost, tmp_path: Path) -> None:
    machine, other = [await launch(host, order(tmp_path, name)) for name in ("i-0a", "i-0b")]
    mine = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        await pid_of(machine, "sleep 1000")
        with contextlib.suppress(asyncssh.Error, OSError):
            async with await machine.connect() as connection:
                result = await connection.run("kill -9 -1")
                if host.isolation == "none":
                    assert "not permitted" in str(result.stderr)
        assert await other.run("echo alive") == "alive\n"
        assert await machine.run("echo alive") == "alive\n"  # its server is started again
        assert mine.returncode is None
        assert not machine.ended.done()
        if host.isolation == "bubblewrap":
            assert await machine.run("ps -C sleep -o pid= | wc -l") == "0\n"
    finally:
        mine.kill()
        await mine.wait()


async def test_what_cannot_be_booted_says_why(host: ProcessHost, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot listen on port 22 without root"):
        await host.start(order(tmp_path, data=b"#cloud-config\n{}"), lambda code: None)
    with pytest.raises(MachineError, match="does not know the cloud-config key 'packages'"):
        await host.start(order(tmp_path, data=b"#cloud-config\npackages: [git]\n"), lambda code: None)
    machine = await launch(host, order(tmp_path))
    with pytest.raises(MachineError, match="already running"):
        await host.start(machine.order, lambda code: None)


async def test_an_address_in_use_ends_the_boot(host: ProcessHost, tmp_path: Path) -> None:
    ordered = order(tmp_path)
    with socket.socket() as taken:
        taken.bind((ordered.private_ip, PORT))
        taken.listen()
        machine = await launch(host, ordered)
        async with asyncio.timeout(20):
            assert await machine.ended == 70
    assert f"cannot listen on {ordered.private_ip} port {PORT}" in host.console("i-0a")


async def test_destroy_removes_the_folder_and_forgets(machine: Launched) -> None:
    await machine.run("mkdir locked && touch locked/file && chmod 0 locked")
    await machine.host.destroy("i-0a")
    assert not machine.order.folder.exists()
    await machine.host.destroy("i-0a")
    assert machine.host.console("i-0a") == ""


async def test_without_user_data_the_key_pair_may_log_in(tmp_path: Path) -> None:
    host = await ProcessHost.open(default_port=PORT)
    key = asyncssh.generate_private_key("ssh-ed25519")
    ordered = replace(order(tmp_path), user_data=None, key_name="mine", public_key=public_line(key))
    try:
        machine = await launch(host, ordered)
        async with await machine.connect(client_keys=[key], known_hosts=None) as connection:
            first = public_line(connection.get_server_host_key())
        await machine.stop()
        await host.start(ordered, machine.ended.set_result)
        async with await machine.connect(client_keys=[key], known_hosts=None) as connection:
            assert public_line(connection.get_server_host_key()) == first
    finally:
        await host.close()


async def test_a_killed_bubblewrap_is_a_machine_that_has_ended(
    others: set[int], isolated: ProcessHost, tmp_path: Path
) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    machine = await launch(isolated, order(tmp_path))
    await machine.run(f"setsid sh -c 'while :; do sleep 1; done' {mark} </dev/null >/dev/null 2>&1 &")
    await appears(mark)
    ours = set(descendants(os.getpid())) - others
    (outer,) = [pid for pid in ours if arguments(pid).split("\0")[0].endswith("bwrap")]
    os.kill(outer, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await machine.ended == 128 + signal.SIGKILL
    assert not marked(mark)


_REGION = """
import asyncio, sys
from pathlib import Path
from ciab.localec2.process.host import ProcessHost
from tests.integration.process_machines.launching import launch, order

async def main():
    host = await ProcessHost.open(sys.argv[1])
    machine = await launch(host, order(Path(sys.argv[2])))
    await machine.run(sys.argv[3])
    print(machine.order.private_ip, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_nothing_survives_a_killed_region(host: ProcessHost, tmp_path: Path) -> None:
    mark = f"mark-{os.urandom(8).hex()}"
    command = (
        f"setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' {mark} </dev/null >/dev/null 2>&1 &"
    )
    region = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _REGION, host.isolation, str(tmp_path), command),
        stdout=asyncio.subprocess.PIPE,
    )
    assert region.stdout
    try:
        address = (await region.stdout.readline()).decode().strip()
        await appears(mark)
        tree = descendants(region.pid)
        assert tree and not refuses(address)
    finally:
        os.kill(region.pid, signal.SIGKILL)
        await region.wait()
    async with asyncio.timeout(10):
        while marked(mark) or not refuses(address) or any("ciab.localec2" in arguments(pid) for pid in tree):
            await asyncio.sleep(0.01)  # strangers' processes: there is nothing else to wait for
