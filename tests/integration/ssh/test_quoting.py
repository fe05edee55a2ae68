"""Whatever a command is given arrives byte for byte: arguments, environment, stdin, folders, file names."""

from collections.abc import AsyncIterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciab.adapters.ssh.pool import SshConnection
from ciab.core.guest import Command
from ciab.core.secret import Secret
from tests.integration.ssh.acting import LIMIT

# a machine is shared by all examples of a test, as it is by all commands
SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.binary(max_size=50).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
NAMES = WORDS.filter(lambda name: name and "=" not in name)
FILES = WORDS.map(lambda name: name.replace("/", "")).filter(lambda name: name not in ("", ".", ".."))


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@SETTINGS
@given(st.lists(WORDS, max_size=5))
async def test_arguments(connection: SshConnection, words: list[str]) -> None:
    ran = await connection.guest.run(Command(("printf", "%s\\0", "first", *words)), limit_bytes=LIMIT)
    assert ran.stdout.split(b"\0")[1:-1] == [raw(word) for word in words]


@SETTINGS
@given(st.dictionaries(NAMES, WORDS, max_size=5))
async def test_the_environment(connection: SshConnection, env: dict[str, str]) -> None:
    command = Command(("env", "-0"), env={name: Secret(value) for name, value in env.items()})
    ran = await connection.guest.run(command, limit_bytes=LIMIT)
    assert {raw(f"{name}={value}") for name, value in env.items()} <= set(ran.stdout.split(b"\0"))


@SETTINGS
@given(st.binary(max_size=3000))
async def test_stdin(connection: SshConnection, data: bytes) -> None:
    assert (await connection.guest.run(Command(("cat",)), data, limit_bytes=LIMIT)).stdout == data


@SETTINGS
@given(FILES)
async def test_folders_and_file_names(connection: SshConnection, tmp_path: Path, name: str) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"content"

    path = f"{tmp_path}/{name}/{name}"
    await connection.files.write(path, content())
    assert [info.path for info in await connection.files.list(f"{tmp_path}/{name}")] == [path]
    command = Command(("cat", f"./{name}"), workdir=f"{tmp_path}/{name}")
    assert (await connection.guest.run(command, limit_bytes=LIMIT)).stdout == b"content"
    await connection.files.delete(path)
    await connection.files.delete(f"{tmp_path}/{name}")
