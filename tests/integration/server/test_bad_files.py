"""Paths that are no files, and transfers that break: told in words, nothing half written."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from tests.commands import Ciab
from tests.refusals import refusal
from tests.server import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOX = "/api/v1/sandboxes/box"
ODD = f"{BOX}/files/~/workspace/odd"
EVERY_FILE = "find . ~ -not -path '*/.ciab*' | sort | md5sum"  # the server takes notes of its own there
MIB = 1024 * 1024
SCRIPT = r"""
mkdir odd odd/full odd/closed; cd odd; mkfifo fifo
touch full/x closed/x secret $'bytes\xff' "$(printf 'new\nline %% \303\244')"
ln -s nowhere dangling; ln -s circle circle; chmod 0 closed secret
"""


async def run(http: httpx.AsyncClient, script: str) -> str:
    answer = await http.post(f"{BOX}/exec", json={"command": ["bash", "-c", script]})
    assert answer.json()["exit_code"] == 0, answer.text
    return str(answer.json()["stdout"])


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def odd(http: httpx.AsyncClient) -> AsyncIterator[None]:
    """A folder that holds every kind of thing."""
    await run(http, SCRIPT)
    yield
    await run(http, "chmod 700 odd/closed; rm -rf odd")


@pytest.mark.parametrize(
    ("asked", "status", "code", "said"),
    [
        ("GET missing", 404, "file_not_found", "there is no /home/ubuntu/workspace/odd/missing"),
        ("DELETE missing", 404, "file_not_found", "/odd/missing"),
        ("GET secret/below", 404, "file_not_found", "/odd/secret/below"),
        ("GET circle", 404, "file_not_found", "/odd/circle"),
        ("GET dangling", 404, "file_not_found", "/odd/dangling"),
        ("GET full", 422, "invalid_request", "/odd/full is a folder, not a file; list it"),
        ("PUT full", 422, "invalid_request", "/odd/full is a folder, not a file"),
        ("PUT %2e%2e", 422, "invalid_request", "is a folder"),
        ("DELETE full", 409, "conflict", "is not empty; delete what is in it first"),
        ("GET fifo", 422, "invalid_request", "/odd/fifo is not a regular file; devices, FIFOs"),
        ("PUT fifo", 422, "invalid_request", "/odd/fifo is not a regular file"),
        ("GET /dev/zero", 422, "invalid_request", "/dev/zero is not a regular file"),
        ("PUT /dev/null", 422, "invalid_request", "/dev/null is not a regular file"),
        ("GET /proc/kmsg", 403, "forbidden", "no permission for /proc/kmsg"),
        ("GET secret", 403, "forbidden", "no permission for /home/ubuntu/workspace/odd/secret"),
        ("GET closed/x", 403, "forbidden", "/odd/closed/x"),
        ("PUT closed/y", 403, "forbidden", "/odd/closed/y"),
        ("PUT /etc/passwd/x", 422, "invalid_request", "/etc/passwd is not a folder and cannot"),
        (f"PUT {'n' * 300}", 422, "invalid_request", "does not take the name"),
        (f"GET {'a/' * 3000}", 422, "invalid_request", "a path has at most 4096 bytes"),
        ("GET a%00b", 422, "invalid_request", "a path cannot hold a NUL"),
        ("GET bytes%FF", 422, "invalid_request", "the address is not UTF-8"),
        ("PUT other%FE", 422, "invalid_request", "the address is not UTF-8"),
        ("DELETE /", 409, "conflict", "the folder / is not empty"),
        ("POST secret", 405, "method_not_allowed", "this route does not have the method"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else value,
)
@pytest.mark.usefixtures("nothing_changes")
async def test_paths(http: httpx.AsyncClient, asked: str, status: int, code: str, said: str) -> None:
    method, path = asked.split(" ")
    before = await run(http, EVERY_FILE)
    where = f"{BOX}/files/{path}" if path.startswith("/") else f"{ODD}/{path}"
    content = b"x" if method == "PUT" else None
    assert said in refusal(await http.request(method, where, content=content), status, code)
    assert await run(http, EVERY_FILE) == before


async def test_a_folder_is_listed_whatever_it_holds(http: httpx.AsyncClient) -> None:
    listed = (await http.get(f"{BOX}/files", params={"path": "odd"})).json()
    names = [one["path"].removeprefix("/home/ubuntu/workspace/odd/") for one in listed]
    assert names == sorted(
        ["bytes\ufffd", "circle", "closed", "dangling", "fifo", "full", "new\nline % ä", "secret"]
    )
    refused = await http.get(f"{BOX}/files", params={"path": "odd/closed"})
    assert "odd/closed" in refusal(refused, 403, "forbidden")


async def test_dots_are_the_machines_to_resolve(http: httpx.AsyncClient) -> None:
    [listed] = (await http.get(f"{BOX}/files", params={"path": "../../../etc/hostname"})).json()
    assert listed["size"] == len((await http.get(f"{BOX}/files/etc/hostname")).content)
    got = await http.get(f"{BOX}/files/{quote('home/ubuntu/')}%2e%2e/%2e%2e/etc/hostname")
    assert got.content == (await http.get(f"{BOX}/files/etc/hostname")).content


@pytest.mark.usefixtures("nothing_changes")
async def test_an_upload_whose_connection_breaks_leaves_the_old_file_alone(
    shared: RunningServer, http: httpx.AsyncClient
) -> None:
    await http.put(f"{ODD}/full/kept", content=b"old")
    address = httpx.URL(shared.url)
    with socket.create_connection((address.host, address.port or 0)) as raw:
        head = f"PUT {ODD}/full/kept HTTP/1.1\r\nHost: localhost\r\nContent-Length: {100 * MIB}\r\n\r\n"
        raw.sendall(head.encode() + b"new" * MIB)
        async with asyncio.timeout(10):
            while "full/.ciab-" not in await run(http, "find odd/full"):
                await asyncio.sleep(0.02)
    async with asyncio.timeout(10):
        while "full/.ciab-" in await run(http, "find odd/full"):
            await asyncio.sleep(0.02)
    assert await run(http, "ls -A odd/full; cat odd/full/kept") == "kept\nx\nold"


@pytest.mark.usefixtures("nothing_changes")
async def test_a_file_that_shrinks_meanwhile_is_not_taken_for_whole(
    shared: RunningServer, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await run(http, f"truncate -s {200 * MIB} odd/shrinks")
    async with shared.http() as slow:
        with pytest.raises(httpx.RemoteProtocolError):
            async with slow.stream("GET", f"{ODD}/shrinks") as answer:
                pieces = answer.aiter_raw()
                await anext(pieces)
                await run(http, "truncate -s 1 odd/shrinks")
                async for _ in pieces:
                    pass

    await run(http, f"truncate -s {200 * MIB} odd/shrinks")
    kept = tmp_path / "kept"
    kept.write_text("old")
    ciab = Ciab(shared.url)
    download = ciab.begin("files", "download", "box", "odd/shrinks", str(kept))
    async with asyncio.timeout(30):
        while not any(part.stat().st_size for part in tmp_path.glob(".ciab-*")):
            await asyncio.sleep(0.01)
    await run(http, "truncate -s 1 odd/shrinks")
    _, error = await asyncio.to_thread(download.communicate, timeout=60)
    assert download.returncode == 1
    assert error.startswith(b"error: the connection to the CIAB server")
    assert error.count(b"\n") == 1
    assert kept.read_text() == "old"
    assert list(tmp_path.iterdir()) == [kept]
