"""Much output, and output that nobody reads."""

import os
from contextlib import aclosing
from pathlib import Path

from ciab.adapters.ssh.pool import SshConnection
from ciab.core.guest import Command, Output
from tests.integration.ssh.acting import LIMIT, sh, streamed, until


async def test_a_hundred_megabytes_come_whole(connection: SshConnection) -> None:
    size = 100_000_000
    got = 0
    async for item in streamed(connection, Command(("head", "-c", str(size), "/dev/zero"))):
        if isinstance(item, Output):
            got += len(item.data)
        else:
            assert item.code == 0
    assert got == size


async def test_a_hundred_megabytes_are_cut_without_holding_the_command_up(connection: SshConnection) -> None:
    ran = await connection.guest.run(Command(("head", "-c", "100000000", "/dev/zero")), limit_bytes=1000)
    assert (ran.exit_code, len(ran.stdout), ran.truncated) == (0, 1000, True)


async def test_binary_output_comes_byte_for_byte(connection: SshConnection, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    got = bytearray()
    async for item in streamed(connection, Command(("cat", str(tmp_path / "data")))):
        if isinstance(item, Output):
            got += item.data
    assert bytes(got) == data


async def test_a_stalled_reader_stops_its_own_command_only(connection: SshConnection, tmp_path: Path) -> None:
    written = tmp_path / "written"
    script = 'n=0; while :; do head -c 100000 /dev/zero; n=$((n+1)); echo $n >"$1"; done'
    async with aclosing(streamed(connection, sh(script, str(written)))) as output:
        await anext(output)
        seen = [0]

        def stands_still() -> bool:
            seen.append(int(written.read_text() or "0") if written.exists() else 0)
            return len(seen) > 20 and seen[-1] == seen[-20] > 0

        await until(stands_still)
        assert seen[-1] * 100_000 < 4_000_000  # the window, and what the pipes hold
        for _ in range(3):
            ran = await connection.guest.run(sh("echo still here"), limit_bytes=LIMIT)
            assert ran.stdout == b"still here\n"
        before = seen[-1]
        while int(written.read_text() or "0") <= before:
            await anext(output)


async def test_a_command_that_reads_no_stdin_is_not_waited_for(connection: SshConnection) -> None:
    ran = await connection.guest.run(Command(("true",)), b"x" * 5_000_000, limit_bytes=LIMIT)
    assert ran.exit_code == 0
