"""bootcmd: at every boot, before SSH, outside every session; and what its daemons can do to the machine."""

import asyncio
from pathlib import Path

import pytest

from ciab.localec2.process.host import ProcessHost
from tests.integration.process_machines.launching import launch, order, user_data

DAEMON = "setsid sh -c 'trap \"\" HUP; while :; do sleep 0.1; done' the-daemon </dev/null >/dev/null 2>&1 &"


async def test_boot_commands_run_at_every_boot_before_anyone_can_log_in(
    host: ProcessHost, tmp_path: Path
) -> None:
    data = user_data(
        bootcmd=[
            "sleep 0.3; echo $HOME booted >>$HOME/boots",
            ["sh", "-c", 'touch "$HOME/in words"'],
            "echo on the console",
        ],
        runcmd=["echo once >> runs"],
    )
    machine = await launch(host, order(tmp_path, data=data))
    said = await machine.run("cat boots; ls 'in words'; echo $HOME")
    home = said.splitlines()[-1]
    assert said.splitlines()[0] == f"{home} booted"
    assert "on the console" in host.console("i-0a")
    await machine.run("until [ -e runs ]; do sleep 0.01; done")
    await machine.stop()
    assert machine.order.public_ip is not None
    await machine.start_again(machine.order.public_ip)
    assert await machine.run("cat boots runs") == f"{home} booted\n{home} booted\nonce\n"


async def test_files_of_the_user_data_come_after_the_first_boots_commands(
    host: ProcessHost, tmp_path: Path
) -> None:
    """cloud-init's order: bootcmd before write_files; on later boots the file is on the disk."""
    script = '[ -e "$HOME/given" ] && echo there >>$HOME/seen || echo missing >>$HOME/seen'
    given = {"path": "/home/ubuntu/given", "content": "x"}
    document = user_data(bootcmd=[script]).decode()
    document = document.replace('"write_files": [', f'"write_files": [{given}, '.replace("'", '"'))
    machine = await launch(host, order(tmp_path, data=document.encode()))
    await machine.run("cat given")
    await machine.stop()
    assert machine.order.public_ip is not None
    await machine.start_again(machine.order.public_ip)
    assert await machine.run("cat seen") == "missing\nthere\n"


async def test_a_daemon_of_the_boot_outlives_sessions_and_ends_with_its_machine(
    host: ProcessHost, tmp_path: Path
) -> None:
    machine = await launch(host, order(tmp_path, data=user_data(bootcmd=[DAEMON])))
    find = "ps -eo pid=,sid=,args= | grep '[t]he-daemon' | grep -v grep"
    first = await machine.run(find)
    assert len(first.splitlines()) == 1
    assert await machine.run(find) == first
    await machine.stop()
    assert machine.order.public_ip is not None
    await machine.start_again(machine.order.public_ip)
    assert len((await machine.run(find)).splitlines()) == 1


@pytest.mark.parametrize("command", ["shutdown -P now", "poweroff"])
async def test_a_daemon_can_switch_its_machine_off(host: ProcessHost, tmp_path: Path, command: str) -> None:
    waits = f"setsid sh -c 'until [ -e \"$HOME/now\" ]; do sleep 0.05; done; {command}' >/dev/null 2>&1 &"
    machine = await launch(host, order(tmp_path, data=user_data(bootcmd=[waits])))
    await machine.run("touch now")
    async with asyncio.timeout(20):
        assert await machine.ended == 0
    assert "power-off asked for inside the machine" in host.console("i-0a")


@pytest.mark.parametrize("command", ["/sbin/shutdown -P now", "/sbin/poweroff", "/sbin/halt"])
async def test_the_power_switch_has_its_usual_place(
    isolated: ProcessHost, tmp_path: Path, command: str
) -> None:
    """Only where the machine has its own file system: without one that path is the host's."""
    waits = f"setsid sh -c 'until [ -e \"$HOME/now\" ]; do sleep 0.05; done; {command}' >/dev/null 2>&1 &"
    machine = await launch(isolated, order(tmp_path, data=user_data(bootcmd=[waits])))
    await machine.run("/sbin/ldconfig --version >/dev/null; touch now")
    async with asyncio.timeout(20):
        assert await machine.ended == 0


async def test_boot_commands_that_fail_do_not_hold_the_boot_up(host: ProcessHost, tmp_path: Path) -> None:
    machine = await launch(host, order(tmp_path, data=user_data(bootcmd=["exit 3"])))
    assert await machine.run("echo up") == "up\n"
