"""What breaks, and what it takes along."""

import asyncio
from pathlib import Path

import pytest

from ciab.adapters.ssh.pool import Pool, SshConnection
from ciab.core.errors import GuestFault, GuestUnreachable
from tests.integration.ssh.acting import LIMIT, Mark, a_proxy, sh, until
from tests.sshd import Sshd


async def test_a_killed_guest_program_fails_its_commands_and_is_started_again(
    connection: SshConnection,
) -> None:
    mark = Mark()
    running = asyncio.create_task(
        connection.guest.run(sh('setsid sleep "$1" & sleep "$1"', mark.seconds), limit_bytes=LIMIT)
    )
    await until(lambda: mark.count() == 2)
    with pytest.raises(GuestFault, match="guest program"):
        await connection.guest.run(sh("kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)"), limit_bytes=LIMIT)
    with pytest.raises(GuestFault, match="guest program"):
        await running
    await until(lambda: mark.count() == 0)
    assert (await connection.guest.run(sh("exit 3"), limit_bytes=LIMIT)).exit_code == 3


async def test_a_killed_supervisor_fails_its_command_only(connection: SshConnection) -> None:
    with pytest.raises(GuestFault, match="supervisor"):
        await connection.guest.run(sh("kill -9 $PPID"), limit_bytes=LIMIT)
    assert (await connection.guest.run(sh("exit 3"), limit_bytes=LIMIT)).exit_code == 3


async def test_a_dropped_connection_ends_the_tree_and_is_opened_again(pool: Pool, machine: Sshd) -> None:
    mark = Mark()
    async with a_proxy(machine.target) as proxy:
        connection = await pool.connect(proxy.target)
        command = sh('setsid sleep "$1" & sleep "$1"', mark.seconds)
        running = asyncio.create_task(connection.guest.run(command, limit_bytes=LIMIT))
        await until(lambda: mark.count() == 2)
        proxy.cut()
        with pytest.raises(GuestUnreachable) as caught:
            await running
        assert caught.value.retryable
        await until(lambda: mark.count() == 0)
        again = await pool.connect(proxy.target)
        assert again is not connection
        assert (await again.guest.run(sh("exit 3"), limit_bytes=LIMIT)).exit_code == 3


async def test_files_go_on_after_their_session_was_killed(connection: SshConnection, tmp_path: Path) -> None:
    await connection.files.stat(str(tmp_path))
    of_this_login = "login=$(parent $(parent $PPID)); pids=$(ps -o pid,args --ppid $login | grep sftp)"
    kill = f"parent() {{ cut -d' ' -f4 /proc/$1/stat; }}; {of_this_login}; kill -9 ${{pids%% [a-z]*}}"
    ran = await connection.guest.run(sh(kill), limit_bytes=LIMIT)
    assert ran.exit_code == 0, ran.stderr
    with pytest.raises(GuestUnreachable):
        await connection.files.stat(str(tmp_path))
    assert (await connection.files.stat(str(tmp_path))).is_dir


async def test_a_download_over_a_dropped_connection_is_an_error(
    pool: Pool, machine: Sshd, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(50_000_000))
    async with a_proxy(machine.target) as proxy:
        connection = await pool.connect(proxy.target)
        with pytest.raises(GuestUnreachable):
            async for _ in connection.files.read(str(tmp_path / "large")):
                proxy.cut()
