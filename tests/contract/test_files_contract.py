"""The port Files: what the files of every machine must do."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from ciab.core.errors import Conflict, FileMissing, InvalidRequest
from tests.insides import Inside

CONTENT = bytes(range(256)) * 4000
NAMES = [
    "plain",
    "two words",
    "quote\"s and 'more'",
    "new\nline",
    "-dash",
    "ünïcode",
    "*?[x]",
    "$HOME;`id`",
    " ",
]


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def content(inside: Inside, path: str) -> bytes:
    return b"".join([piece async for piece in inside.files.read(path)])


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_taken_as_they_are(inside: Inside, name: str) -> None:
    path = f"{inside.folder}/{name}"
    await inside.files.write(path, pieces(b"x"))
    assert await content(inside, path) == b"x"
    assert [info.path for info in await inside.files.list(inside.folder)] == sorted(
        [f"{inside.folder}/fifo", path]
    )
    await inside.files.delete(path)
    with pytest.raises(FileMissing):
        await inside.files.stat(path)


@pytest.mark.parametrize("size", [0, 1, 131_072, 1_000_001])
async def test_what_was_written_is_read(inside: Inside, size: int) -> None:
    path = f"{inside.folder}/file"
    data = CONTENT[:size]
    info = await inside.files.write(path, pieces(data[: size // 3], b"", data[size // 3 :]))
    assert (info.path, info.size, info.is_dir) == (path, size, False)
    assert await content(inside, path) == data
    assert await inside.files.stat(path) == info
    assert datetime.now(UTC) - info.modified_at < timedelta(minutes=1)


async def test_the_mode_is_what_was_asked_and_stays_when_a_file_is_replaced(inside: Inside) -> None:
    path = f"{inside.folder}/script"
    assert (await inside.files.write(path, pieces(b"1"), mode=0o751)).mode == 0o751
    assert (await inside.files.write(path, pieces(b"2"))).mode == 0o751
    assert (await inside.files.write(path, pieces(b"3"), mode=0o600)).mode == 0o600
    assert await content(inside, path) == b"3"


async def test_missing_folders_are_made(inside: Inside) -> None:
    await inside.files.write(f"{inside.folder}/a/b/c", pieces(b"x"))
    assert (await inside.files.stat(f"{inside.folder}/a/b")).is_dir
    (found,) = await inside.files.list(f"{inside.folder}/a")
    assert (found.path, found.is_dir) == (f"{inside.folder}/a/b", True)


async def test_a_write_that_breaks_off_leaves_the_old_file(inside: Inside) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half of "
        raise ValueError("the client went away")

    path = f"{inside.folder}/file"
    await inside.files.write(path, pieces(b"old"))
    with pytest.raises(ValueError, match="went away"):
        await inside.files.write(path, broken())
    assert await content(inside, path) == b"old"
    assert [info.path for info in await inside.files.list(inside.folder)] == [f"{inside.folder}/fifo", path]


async def test_the_home_is_a_tilde(inside: Inside) -> None:
    home = (await inside.files.stat("~")).path
    assert home.startswith("/")
    info = await inside.files.write("~/ciab-test/x", pieces(b"x"))
    assert info.path == f"{home}/ciab-test/x"
    assert await content(inside, f"{home}/ciab-test/x") == b"x"
    await inside.files.delete("~/ciab-test/x")
    await inside.files.delete("~/ciab-test")


async def test_a_listed_file_is_itself(inside: Inside) -> None:
    info = await inside.files.write(f"{inside.folder}/file", pieces(b"x"))
    assert list(await inside.files.list(f"{inside.folder}/file")) == [info]


async def test_what_is_missing_says_so(inside: Inside) -> None:
    path = f"{inside.folder}/missing"
    with pytest.raises(FileMissing, match="missing"):
        await content(inside, path)
    with pytest.raises(FileMissing):
        await inside.files.list(path)
    with pytest.raises(FileMissing):
        await inside.files.delete(path)
    with pytest.raises(FileMissing):
        await inside.files.stat(f"{path}/below")


@pytest.mark.timeout(20)
async def test_a_fifo_is_refused_at_once(inside: Inside) -> None:
    with pytest.raises(InvalidRequest, match="not a regular file"):
        await content(inside, f"{inside.folder}/fifo")
    with pytest.raises(InvalidRequest, match="not a regular file"):
        await inside.files.write(f"{inside.folder}/fifo", pieces(b"x"))


async def test_a_folder_is_not_a_file(inside: Inside) -> None:
    with pytest.raises(InvalidRequest, match="folder"):
        await content(inside, inside.folder)
    with pytest.raises(InvalidRequest, match="folder"):
        await inside.files.write(inside.folder, pieces(b"x"))


async def test_only_an_empty_folder_is_deleted(inside: Inside) -> None:
    await inside.files.write(f"{inside.folder}/sub/file", pieces(b"x"))
    with pytest.raises(Conflict):
        await inside.files.delete(f"{inside.folder}/sub")
    await inside.files.delete(f"{inside.folder}/sub/file")
    await inside.files.delete(f"{inside.folder}/sub")
    with pytest.raises(FileMissing):
        await inside.files.stat(f"{inside.folder}/sub")


@pytest.mark.parametrize("path", ["", "relative", "a/../b", "~other/x", "/with\0nul"])
async def test_a_path_that_is_none_is_refused(inside: Inside, path: str) -> None:
    with pytest.raises(InvalidRequest):
        await inside.files.stat(path)


async def test_a_file_can_be_no_folder_for_others(inside: Inside) -> None:
    await inside.files.write(f"{inside.folder}/file", pieces(b"x"))
    with pytest.raises(InvalidRequest, match="folder"):
        await inside.files.write(f"{inside.folder}/file/below", pieces(b"y"))
