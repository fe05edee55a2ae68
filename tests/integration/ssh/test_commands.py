"""What a command is given, and what it sees."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from ciab.adapters.ssh.pool import Pool, SshConnection
from ciab.core.errors import GuestFault
from ciab.core.guest import Command
from ciab.core.secret import Secret
from tests.integration.ssh.acting import LIMIT, sh
from tests.sshd import sshd


async def test_exit_codes_are_as_in_a_shell(connection: SshConnection, tmp_path: Path) -> None:
    async def code(command: Command) -> int:
        return (await connection.guest.run(command, limit_bytes=LIMIT)).exit_code

    assert await code(sh("exit 255")) == 255
    assert await code(sh("kill -TERM $$")) == 128 + 15
    assert await code(Command((str(tmp_path),))) == 126
    (tmp_path / "file").write_text("not a program")
    assert await code(Command((str(tmp_path / "file"),))) == 126


async def test_streams_are_apart(connection: SshConnection) -> None:
    ran = await connection.guest.run(sh("echo out; echo err >&2"), limit_bytes=LIMIT)
    assert (ran.stdout, ran.stderr) == (b"out\n", b"err\n")


async def test_secrets_are_on_no_command_line_and_in_no_other_environment(connection: SshConnection) -> None:
    secret = "hush-" + uuid4().hex
    script = 'cat; for p in /proc/[0-9]*; do tr "\\0" "\\n" <$p/cmdline; done; env -i sh -c "env"'
    command = replace(sh(script), env={"TOKEN": Secret(secret)})
    ran = await connection.guest.run(command, secret.encode(), limit_bytes=LIMIT)
    assert ran.stdout.count(secret.encode()) == 1  # what cat was given
    after = await connection.guest.run(sh("cat /proc/$PPID/environ; env"), limit_bytes=LIMIT)
    assert secret.encode() not in after.stdout


async def test_the_environment_is_the_logins_and_the_signals_are_fresh(connection: SshConnection) -> None:
    ran = await connection.guest.run(Command(("env",), workdir="/"), limit_bytes=LIMIT)
    names = {line.partition("=")[0] for line in ran.stdout.decode().splitlines()}
    assert {"HOME", "USER", "PATH", "PWD"} <= names
    assert not {name for name in names if name.startswith(("PYTHON", "LC_"))} | ({"_", "OLDPWD"} & names)
    ran = await connection.guest.run(Command(("cat", "/proc/self/status")), limit_bytes=LIMIT)
    masks = dict(line.split(":\t") for line in ran.stdout.decode().splitlines() if line.startswith("Sig"))
    assert int(masks["SigBlk"], 16) == 0
    ordinary = (1 << 31) - 1  # the two above are the C library's own
    assert int(masks["SigIgn"], 16) & ordinary == 0


async def test_a_command_has_three_open_files(connection: SshConnection) -> None:
    ran = await connection.guest.run(Command(("ls", "/proc/self/fd")), limit_bytes=LIMIT)
    assert ran.stdout.split() == [b"0", b"1", b"2", b"3"]  # the last is ls's own


async def test_the_logins_noise_does_no_harm(pool: Pool, tmp_path: Path) -> None:
    noisy = 'ForceCommand printf "welcome\\n\\0ciab-guest %s\\n" no; eval "$SSH_ORIGINAL_COMMAND"'
    with sshd(tmp_path / "noisy", noisy) as machine:
        connection = await pool.connect(machine.target)
        ran = await connection.guest.run(sh("echo clean"), limit_bytes=LIMIT)
        assert ran.stdout == b"clean\n"
        await pool.close(machine.target.sandbox_id)


async def test_a_machine_without_python_says_so(pool: Pool, tmp_path: Path) -> None:
    bare = 'ForceCommand PATH=/nonexistent; eval "$SSH_ORIGINAL_COMMAND"'
    with sshd(tmp_path / "bare", bare) as machine:
        connection = await pool.connect(machine.target)
        with pytest.raises(GuestFault, match="no python3"):
            await connection.guest.run(Command(("true",)), limit_bytes=LIMIT)
        await pool.close(machine.target.sandbox_id)


async def test_files_without_a_size_are_read_to_their_end(connection: SshConnection) -> None:
    expected = await connection.guest.run(Command(("cat", "/proc/kallsyms")), limit_bytes=100_000_000)
    got = b"".join([piece async for piece in connection.files.read("/proc/kallsyms")])
    assert len(got) > 100_000
    assert lasting(got) == lasting(expected.stdout)


def lasting(symbols: bytes) -> list[bytes]:
    """Without those of the packet filters that other programs load meanwhile."""
    return [line for line in symbols.splitlines() if not line.endswith(b"[bpf]")]


async def test_links_are_followed(connection: SshConnection, tmp_path: Path) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"new"

    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").symlink_to("/")
    await connection.files.write(str(tmp_path / "link"), once())
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    found = {Path(info.path).name: info for info in await connection.files.list(str(tmp_path))}
    assert found["folder"].is_dir
    assert found["link"].size == 3
    assert "dangling" in found
    await connection.files.delete(str(tmp_path / "link"))
    assert (tmp_path / "real").exists()
