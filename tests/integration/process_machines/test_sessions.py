"""The SSH server of a machine: who may log in, and what commands, files and forwards see."""

import asyncio
import hashlib
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from ciab.localec2.process.host import ProcessHost
from tests.integration.process_machines.launching import (
    USER_KEY,
    Launched,
    launch,
    order,
    public_line,
    user_data,
)


async def test_another_key_or_user_or_a_password_is_refused(machine: Launched) -> None:
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    for options in (
        {"client_keys": [stranger]},
        {"username": "root"},
        {"username": "nobody"},
        {"client_keys": None, "password": "ubuntu"},
    ):
        with pytest.raises(asyncssh.PermissionDenied):
            await machine.connect(**options)


async def test_a_key_added_to_the_file_may_log_in_until_it_expires(machine: Launched) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    for minutes, welcome in ((5, True), (-5, False)):
        until = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y%m%d%H%M%SZ")
        line = f'restrict,pty,expiry-time="{until}" {public_line(key)}'
        await machine.run(
            f"cp -n .ssh/authorized_keys kept; cat kept - > .ssh/authorized_keys <<'.'\n{line}\n."
        )
        if welcome:
            async with await machine.connect(client_keys=[key]) as connection:
                assert (await connection.run("echo in")).stdout == "in\n"
        else:
            with pytest.raises(asyncssh.PermissionDenied):
                await machine.connect(client_keys=[key])


async def test_the_user_may_have_another_name(isolated: ProcessHost, tmp_path: Path) -> None:
    users = ["default", {"name": "agent", "ssh_authorized_keys": [public_line(USER_KEY)]}]
    machine = await launch(isolated, order(tmp_path, data=user_data(users=users)))
    async with await machine.connect(username="agent") as connection:
        assert (
            await connection.run("id -un; echo $USER $PWD ~")
        ).stdout == "agent\nagent /home/agent /home/agent\n"
        async with connection.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/home/agent"
    with pytest.raises(asyncssh.PermissionDenied):
        await machine.connect()


async def test_exit_codes_signals_and_streams(machine: Launched) -> None:
    async with await machine.connect() as connection:
        result = await connection.run("echo out; echo err >&2; exit 7")
        assert (result.stdout, result.stderr, result.exit_status) == ("out\n", "err\n", 7)
        assert (await connection.run("no-such-command")).exit_status == 127
        killed = await connection.run("kill -KILL $$")
        assert killed.exit_status == -1
        assert killed.exit_signal is not None and killed.exit_signal[0] == "KILL"


async def test_large_output_arrives_whole(machine: Launched) -> None:
    async with await machine.connect() as connection:
        result = await connection.run(
            "head -c 60000000 /dev/urandom | tee /dev/fd/3 3>&1 >/dev/null | tee copy; sha256sum copy >&2",
            encoding=None,
        )
    assert isinstance(result.stdout, bytes) and isinstance(result.stderr, bytes)
    assert len(result.stdout) == 60_000_000
    assert hashlib.sha256(result.stdout).hexdigest() == result.stderr.decode().split()[0]


async def test_input_has_an_end(machine: Launched) -> None:
    data = bytes(range(256)) * 40_000
    async with await machine.connect() as connection:
        result = await connection.run("cat; sleep 0.05; echo after", input=data, encoding=None)
        assert result.stdout == data + b"after\n"
        # a command that reads nothing does not wait for its input
        assert (await connection.run("exit 3", input=data, encoding=None)).exit_status == 3


async def test_environment_is_small_and_accept_env_decides_what_may_be_sent(
    host: ProcessHost, tmp_path: Path
) -> None:
    machine = await launch(host, order(tmp_path, data=user_data("AcceptEnv CIAB_*\n")))
    async with await machine.connect() as connection:
        result = await connection.run(
            "env -0", env={"CIAB_A": "1", "LC_ALL": "C", "PATH": "/x", "AWS_B": "2"}
        )
    pairs = dict(pair.split("=", 1) for pair in str(result.stdout).split("\0") if pair)
    shells = {"PWD", "SHLVL", "_"}
    own = {"CIAB_FOLDER", "CIAB_FIRST_PROCESS"} if host.isolation == "none" else set()
    given = {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG"} | own
    assert set(pairs) - shells == given | {"CIAB_A", "LC_ALL"}
    assert pairs["PATH"].endswith("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


async def test_signals_reach_the_command(machine: Launched) -> None:
    async with (
        await machine.connect() as connection,
        connection.create_process(
            "trap 'echo caught; exit 5' USR1; echo ready; sleep 100 >/dev/null 2>&1 & wait"
        ) as process,
    ):
        assert await process.stdout.readline() == "ready\n"
        process.send_signal("USR1")
        assert await process.stdout.readline() == "caught\n"
        assert (await process.wait()).exit_status == 5


async def test_a_terminal_has_size_modes_and_control_c(machine: Launched) -> None:
    async with await machine.connect() as connection:
        modes = {asyncssh.PTY_ECHO: 0}
        async with connection.create_process(
            "stty size; stty -a | grep -o -- '-echo '; echo ready; exec sleep 100",
            term_type="xterm-256color",
            term_size=(100, 30),
            term_modes=modes,
        ) as process:
            assert await process.stdout.readline() == "30 100\r\n"
            assert (await process.stdout.readline()).strip() == "-echo"
            assert await process.stdout.readline() == "ready\r\n"
            process.stdin.write("\x03")
            result = await process.wait(timeout=20)
            assert result.exit_signal is not None and result.exit_signal[0] == "INT"
        async with connection.create_process(term_type="xterm", term_size=(80, 24)) as shell:
            shell.stdin.write("echo $TERM $0 $((6*7))\n")
            await shell.stdout.readuntil("xterm -bash 42")
            shell.change_terminal_size(50, 20)
            shell.stdin.write("stty size; exit 4\n")
            await shell.stdout.readuntil("20 50")
            assert (await shell.wait()).exit_status == 4


async def test_a_terminal_that_goes_away_hangs_up_and_a_channel_without_one_does_not(
    machine: Launched,
) -> None:
    async with await machine.connect() as connection:
        on_terminal = await connection.create_process("echo $$; sleep 1000", term_type="xterm")
        hung_up = int(await on_terminal.stdout.readline())
        plain = await connection.create_process("echo $$; sleep 1001")
        kept = int(await plain.stdout.readline())
        on_terminal.close()
        plain.close()
        await connection.run(f"while kill -0 {hung_up} 2>/dev/null; do sleep 0.01; done", timeout=10)
        assert (await connection.run(f"kill -0 {kept}")).exit_status == 0


async def test_files_by_sftp(machine: Launched) -> None:
    content = hashlib.sha256(b"seed").digest() * 100_000
    async with await machine.connect() as connection, connection.start_sftp_client() as sftp:
        home = await sftp.realpath(".")
        name = "a 'file'\nwith \"quotes\""
        async with sftp.open(name, "wb") as file:
            await file.write(content)
        assert (await connection.run("sha256sum < a*", check=True)).stdout.split()[0] == hashlib.sha256(
            content
        ).hexdigest()
        assert (await sftp.stat(f"{home}/{name}")).size == len(content)
        await sftp.mkdir(f"{home}/folder")
        await sftp.symlink("../target", "folder/link")
        assert await sftp.readlink("folder/link") == "../target"
        await sftp.posix_rename(name, "folder/moved")
        assert sorted(await sftp.listdir("folder")) == [".", "..", "link", "moved"]
        with pytest.raises(asyncssh.SFTPNoSuchFile):
            await sftp.stat("missing")


async def test_sessions_above_the_limit_are_refused_and_the_connection_lives(
    host: ProcessHost, tmp_path: Path
) -> None:
    machine = await launch(host, order(tmp_path, data=user_data("MaxSessions 3\n")))
    async with await machine.connect() as connection:
        held = [await connection.create_process("cat") for _ in range(3)]
        with pytest.raises(asyncssh.ChannelOpenError, match="open failed"):
            await connection.create_process("cat")
        for process in held:
            process.stdin.write_eof()
            await process.wait()
        assert (await connection.run("echo again")).stdout == "again\n"


async def test_forwards_to_and_from_the_machine(machine: Launched, tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, await machine.connect() as connection:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await connection.open_connection("127.0.0.1", port)
        writer.write(b"direct\n")
        assert await reader.readline() == b"DIRECT\n"
        back = await connection.forward_remote_port("", 0, "127.0.0.1", port)
        command = f"exec 3<>/dev/tcp/127.0.0.1/{back.get_port()}; echo back >&3; cat <&3"
        assert (await connection.run(command, check=True)).stdout == "BACK\n"
        with socket.socket() as client:  # loopback only, whatever was asked for
            assert client.connect_ex((machine.order.private_ip, back.get_port())) != 0
        unix = await connection.forward_remote_path_to_port("relay.sock", "127.0.0.1", port)
        script = (
            "import socket; c = socket.socket(socket.AF_UNIX); c.connect('relay.sock'); "
            "c.sendall(b'unix\\n'); print(c.recv(9))"
        )
        assert (await connection.run(f'python3 -c "{script}"', check=True)).stdout == "b'UNIX\\n'\n"
        unix.close()
        back.close()


async def test_small_exchanges_are_not_held_back(machine: Launched) -> None:
    """Nagle's algorithm on a listener would cost 40 ms each."""
    async with await machine.connect() as connection, connection.create_process("cat") as process:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for _ in range(50):
            process.stdin.write("a")
            process.stdin.write("b\n")
            assert await process.stdout.readline() == "ab\n"
        assert loop.time() - begun < 50 * 0.04
        process.stdin.write_eof()
