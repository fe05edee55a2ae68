"""The ports Connections and Guest: what every inside of a machine must do."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import pytest

from ciab.core.errors import InvalidRequest
from ciab.core.guest import Command, Exit, Output
from ciab.core.ports import Connections
from ciab.core.secret import Secret
from tests.insides import Inside

LIMIT = 1 << 20
ALL_BYTES = bytes(range(256)) * 1000


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def streamed(
    inside: Inside, command: Command, stdin: AsyncIterator[bytes] | None = None
) -> AsyncGenerator[Output | Exit, None]:
    return cast("AsyncGenerator[Output | Exit, None]", inside.guest.stream(command, stdin))


async def test_a_command_gives_its_output_and_its_code(inside: Inside) -> None:
    ran = await inside.guest.run(Command(("echo", "two words", "'\"$HOME;")), limit_bytes=LIMIT)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, b"two words '\"$HOME;\n", b"")
    assert not ran.timed_out
    assert not ran.truncated
    assert (await inside.guest.run(Command(("false",)), limit_bytes=LIMIT)).exit_code == 1


async def test_a_program_that_does_not_exist_is_a_result(inside: Inside) -> None:
    ran = await inside.guest.run(Command(("no-such-program",)), limit_bytes=LIMIT)
    assert ran.exit_code == 127
    assert b"no-such-program" in ran.stderr


@pytest.mark.parametrize("argv", [(), ("echo", "a\0b")])
async def test_what_no_program_can_be_given_is_refused(inside: Inside, argv: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest):
        await inside.guest.run(Command(argv), limit_bytes=LIMIT)


async def test_a_working_directory_that_does_not_exist_is_refused(inside: Inside) -> None:
    with pytest.raises(InvalidRequest, match="no/such/folder"):
        await inside.guest.run(Command(("pwd",), workdir="/no/such/folder"), limit_bytes=LIMIT)


async def test_working_directories(inside: Inside) -> None:
    async def pwd(workdir: str | None) -> str:
        ran = await inside.guest.run(Command(("pwd",), workdir=workdir), limit_bytes=LIMIT)
        return ran.stdout.decode().rstrip("\n")

    home = await pwd("~")
    assert home.startswith("/")
    assert await pwd(inside.folder) == inside.folder
    assert await pwd(None) in (home, f"{home}/workspace")
    await inside.guest.run(Command(("mkdir", "sub"), workdir=inside.folder), limit_bytes=LIMIT)
    assert await pwd(f"{inside.folder}/sub") == f"{inside.folder}/sub"


async def test_without_a_working_directory_it_is_the_workspace_where_there_is_one(inside: Inside) -> None:
    had = await inside.guest.run(Command(("pwd",), workdir=None), limit_bytes=LIMIT)
    await inside.guest.run(Command(("mkdir", "-p", "workspace"), workdir="~"), limit_bytes=LIMIT)
    ran = await inside.guest.run(Command(("pwd",)), limit_bytes=LIMIT)
    assert ran.stdout.endswith(b"/workspace\n")
    if not had.stdout.endswith(b"/workspace\n"):
        await inside.files.delete("~/workspace")


async def test_the_environment_reaches_the_command(inside: Inside) -> None:
    env = {"TOKEN": Secret("s3cret = with ünicode"), "EMPTY": Secret("")}
    ran = await inside.guest.run(Command(("env",), env=env), limit_bytes=LIMIT)
    lines = ran.stdout.decode().splitlines()
    assert "TOKEN=s3cret = with ünicode" in lines
    assert "EMPTY=" in lines


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
async def test_stdin_comes_back_byte_for_byte(inside: Inside, size: int) -> None:
    data = (ALL_BYTES * (size // len(ALL_BYTES) + 1))[:size]
    ran = await inside.guest.run(Command(("cat",)), data, limit_bytes=size)
    assert ran.stdout == data
    assert not ran.truncated


async def test_of_each_stream_the_first_bytes_are_kept(inside: Inside) -> None:
    ran = await inside.guest.run(Command(("cat",)), ALL_BYTES, limit_bytes=1000)
    assert ran.stdout == ALL_BYTES[:1000]
    assert ran.truncated
    assert ran.exit_code == 0


async def test_a_timeout_gives_124(inside: Inside) -> None:
    ran = await inside.guest.run(Command(("sleep", "600"), timeout=0.2), limit_bytes=LIMIT)
    assert ran.exit_code == 124
    assert ran.timed_out


async def test_a_stream_ends_with_an_exit(inside: Inside) -> None:
    items = [item async for item in streamed(inside, Command(("echo", "hello")))]
    *output, end = items
    assert b"".join(item.data for item in output if isinstance(item, Output)) == b"hello\n"
    assert isinstance(end, Exit)
    assert end.code == 0


async def test_a_stream_gives_output_while_the_command_runs(inside: Inside) -> None:
    goes_on = asyncio.Event()

    async def stdin() -> AsyncIterator[bytes]:
        yield b"first"
        await goes_on.wait()
        yield b"second"

    async with aclosing(streamed(inside, Command(("cat",)), stdin())) as output:
        assert await anext(output) == Output("stdout", b"first")
        goes_on.set()
        assert await anext(output) == Output("stdout", b"second")
        assert isinstance(await anext(output), Exit)


async def test_a_stream_passes_megabytes_through(inside: Inside) -> None:
    part = ALL_BYTES
    got = bytearray()
    async for item in streamed(inside, Command(("cat",)), pieces(*[part] * 12)):
        if isinstance(item, Output):
            got += item.data
    assert bytes(got) == part * 12


async def test_a_source_of_stdin_that_breaks_breaks_the_stream(inside: Inside) -> None:
    async def stdin() -> AsyncIterator[bytes]:
        yield b"some"
        raise ValueError("the client went away")

    with pytest.raises(ValueError, match="went away"):
        async for _ in streamed(inside, Command(("cat",)), stdin()):
            pass


async def test_many_commands_at_once_keep_their_output_apart(inside: Inside) -> None:
    async def one(number: int) -> bytes:
        ran = await inside.guest.run(Command(("cat",)), b"%d\n" % number * 500, limit_bytes=LIMIT)
        return ran.stdout

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(40)]
    assert [task.result() for task in tasks] == [b"%d\n" % number * 500 for number in range(40)]


async def test_a_connection_is_shared_and_opened_anew_after_a_close(inside: Inside) -> None:
    connections: Connections = inside.connections
    first = await connections.connect(inside.target)
    assert await connections.connect(inside.target) is first
    await connections.close(inside.target.sandbox_id)
    await connections.close(inside.target.sandbox_id)
    second = await connections.connect(inside.target)
    assert second is not first
    assert (await second.guest.run(Command(("true",)), limit_bytes=LIMIT)).exit_code == 0


async def test_another_target_of_a_sandbox_replaces_its_connection(inside: Inside) -> None:
    first = await inside.connections.connect(inside.target)
    moved = replace(inside.target, host="127.0.0.1" if not inside.real else "localhost")
    second = await inside.connections.connect(moved)
    assert second is not first
    assert await inside.connections.connect(moved) is second
