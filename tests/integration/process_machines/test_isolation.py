"""What a machine can see and reach of its host, and of another machine."""

import os
import sys
from pathlib import Path

import asyncssh
import pytest

from ciab.localec2.process.host import ProcessHost
from ciab.localec2.process.sandboxing import why_not
from tests.integration.process_machines.launching import Launched, launch, order, user_data


async def test_machines_do_not_see_each_other_or_their_host(isolated: ProcessHost, tmp_path: Path) -> None:
    one, two = [await launch(isolated, order(tmp_path, name)) for name in ("i-0a", "i-0b")]
    await one.run("touch /tmp/mine ~/mine; setsid sleep 987654 </dev/null >/dev/null 2>&1 &")
    assert "987654" in await one.run("ps -ef")
    seen = await two.run("ps -ef; ls -a /tmp ~; hostname")
    assert "987654" not in seen and "mine" not in seen
    assert f"ip-{two.order.private_ip.replace('.', '-')}" in seen
    programs = set((await two.run("ps -e -o comm=")).split())
    assert programs <= {"python", "python3", "python3.11", "python3.12", "bash", "ps", "sh"}
    assert (await two.run("ls -A /run")).split() == ["ciab"]
    assert set((await two.run("ls -A /tmp")).split()) <= _interpreter_below(Path("/tmp"))


async def test_the_operators_files_are_not_there(isolated: ProcessHost, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("operator's")
    machine = await launch(isolated, order(tmp_path))
    visible = await machine.run(
        f"cat {tmp_path}/secret {machine.order.folder}/console.log; ls -A {Path.home()}; ls -A /root; true"
    )
    assert set(visible.split()) <= _interpreter_below(Path.home())
    assert await machine.run("id -u; id -un; id -gn; echo ~; stat -c %U ~; cat /etc/hostname") == (
        f"1000\nubuntu\nubuntu\n/home/ubuntu\nubuntu\nip-{machine.order.private_ip.replace('.', '-')}\n"
    )


def _interpreter_below(folder: Path) -> set[str]:
    """What the way to the interpreter may show of a folder that is otherwise hidden."""
    return {part.parts[len(folder.parts)] for part in _python_folders() if part.is_relative_to(folder)}


def _python_folders() -> list[Path]:
    import sys

    import ciab

    return [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve(), Path(ciab.__path__[0])]


async def test_the_hosts_files_cannot_be_written(isolated: ProcessHost, tmp_path: Path) -> None:
    machine = await launch(isolated, order(tmp_path))
    for folder in ("/", "/usr", "/usr/bin", "/proc/sys/kernel", *map(str, _python_folders()[:2])):
        assert await machine.run(f"touch {folder}/made 2>/dev/null && echo written; true") == "", folder
    mode = "cat /proc/sys/kernel/printk > /proc/sys/kernel/printk"
    assert await machine.run(f"({mode}) 2>/dev/null && echo written; true") == ""


async def test_a_link_left_in_the_home_leads_nowhere_outside(isolated: ProcessHost, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    machine = await launch(isolated, order(tmp_path))
    await machine.run(f"mv .ssh old; ln -s {outside} .ssh")
    await machine.stop()
    await machine.host.start(machine.order, machine.ended.set_result)
    with pytest.raises(asyncssh.PermissionDenied):
        await machine.connect()
    assert "cannot prepare /home/ubuntu" in isolated.console("i-0a")
    assert not list(outside.iterdir())


async def test_files_of_the_user_data_are_in_the_machine(
    machine: Launched, host: ProcessHost, tmp_path: Path
) -> None:
    etc = "/etc" if host.isolation == "bubblewrap" else str(machine.order.folder / "etc")
    assert "Port 2222" in await machine.run(f"cat {etc}/ssh/sshd_config.d/10-ciab.conf")


async def test_write_files_into_the_home_happens_once(isolated: ProcessHost, tmp_path: Path) -> None:
    files = [
        {"path": "/etc/ssh/sshd_config.d/10-ciab.conf", "content": "Port 2222\n"},
        {"path": "/home/ubuntu/a/note", "content": "aGk=", "encoding": "b64", "permissions": "0600"},
    ]
    machine = await launch(isolated, order(tmp_path, data=user_data(write_files=files)))
    assert await machine.run("cat a/note; stat -c %a a/note") == "hi600\n"
    await machine.run("echo mine > a/note")
    await machine.stop()
    await machine.start_again(machine.order.private_ip.rsplit(".", 1)[0] + ".255")
    assert await machine.run("cat a/note") == "mine\n"


async def test_sudo_runs_the_command_as_the_user_and_says_nothing(machine: Launched) -> None:
    async with await machine.connect() as connection:
        user = (await connection.run("id -u")).stdout
        for command in ("sudo id -u", "sudo -n -E id -u", "sudo -u root -- id -u", "sudo A=1 sh -c 'id -u'"):
            result = await connection.run(command)
            assert (result.stdout, result.stderr, result.exit_status) == (user, "", 0), command
        assert (await connection.run("sudo sh -c 'exit 9'")).exit_status == 9
        assert (await connection.run("bash -lc 'command -v sudo'")).stdout == (
            await connection.run("command -v sudo")
        ).stdout


async def test_package_managers_refuse_in_one_sentence(machine: Launched) -> None:
    async with await machine.connect() as connection:
        for command in ("sudo apt-get install -y cowsay", "apt update", "dpkg -i x.deb", "snap install x"):
            result = await connection.run(command)
            assert result.exit_status == 100, command
            assert "cannot install system packages" in str(result.stderr)
        assert "no systemd" in str((await connection.run("systemctl restart ssh")).stderr)


async def test_delayed_shutdown_can_be_cancelled(machine: Launched) -> None:
    await machine.run("sudo shutdown -h +60")
    async with await machine.connect() as connection:
        assert "sleep 3600" in str(
            (await connection.run("until ps -e -o args= | grep -x 'sleep 3600'; do :; done")).stdout
        )
        await connection.run("sudo shutdown -c", check=True)
    assert not machine.ended.done()


async def test_without_isolation_signals_do_not_leave_the_machine(tmp_path: Path) -> None:
    host = await ProcessHost.open("none")
    try:
        machine = await launch(host, order(tmp_path))
        async with await machine.connect() as connection:
            script = (
                "import os,signal\n"
                f"for target in (-1, {os.getpid()}, os.getppid()):\n"
                "  try: os.kill(target, 0); print('allowed', target)\n"
                "  except PermissionError: print('refused')\n"
            )
            result = await connection.run(f'python3 -c "{script}"', check=True)
            lines = str(result.stdout).splitlines()
        assert lines[:2] == ["refused", "refused"]
        assert lines[2].startswith("allowed")
        assert host.isolation == "none" and host.reason
    finally:
        await host.close()


def test_why_there_is_no_isolation_is_said_in_bubblewraps_words(
    isolated: ProcessHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isolated.isolation == "bubblewrap"
    monkeypatch.setattr(sys, "executable", "/usr/nowhere/python")
    assert "execvp /usr/nowhere/python: No such file" in (why_not() or "")
