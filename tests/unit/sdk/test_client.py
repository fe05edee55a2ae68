"""The client against a stand-in for the network, at httpx's own port for one."""

import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from ciab.core.errors import (
    BudgetExceeded,
    InvalidRequest,
    InvalidState,
    MachineEnded,
    MachineStopped,
    RuntimeUnavailable,
    SandboxNotFound,
    SpotInterrupted,
    TimedOut,
    Unauthorized,
)
from ciab.schema.exec import ExecRequest, ExitFrame, OutputFrame
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from ciab.sdk.connection import is_loopback
from ciab.sdk.errors import NotCiab, ServerUnreachable
from tests.unit.sdk.answers import ID, INFO, client, error


async def test_the_key_is_sent() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "ok", "version": request.headers["authorization"]})

    async with Client("http://h", "k3y", transport=httpx.MockTransport(handler)) as sdk:
        assert (await sdk.health()).version == "Bearer k3y"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "sandbox_not_found", SandboxNotFound),
        (401, "unauthorized", Unauthorized),
        (503, "runtime_unavailable", RuntimeUnavailable),
        (409, "sandbox_invalid_state", InvalidState),
        (409, "budget_exceeded", BudgetExceeded),
        (502, "machine_ended", MachineEnded),
        (502, "machine_stopped", MachineStopped),
        (502, "spot_interrupted", SpotInterrupted),
    ],
)
async def test_errors_are_raised_again_by_their_code(status: int, code: str, kind: type[Exception]) -> None:
    async with client(lambda request: error(status, code)) as sdk:
        with pytest.raises(kind) as caught:
            await sdk.get_sandbox("box")
    assert str(caught.value) == "said"


async def test_an_answer_that_is_not_ours_is_said() -> None:
    async with client(lambda request: httpx.Response(502, text="<html>nginx")) as sdk:
        with pytest.raises(NotCiab, match="answered 502"):
            await sdk.get_sandbox("box")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (httpx.ConnectError("x"), ServerUnreachable),
        (httpx.ReadError("x"), ServerUnreachable),
        (httpx.ReadTimeout("x"), TimedOut),
    ],
)
async def test_faults_of_the_network_are_ours(fault: Exception, kind: type[Exception]) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise fault

    async with client(handler) as sdk:
        with pytest.raises(kind):
            await sdk.get_sandbox("box")


async def test_a_create_whose_answer_is_lost_is_repeated_under_one_key() -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) == 1:
            raise httpx.ReadError("lost")
        return error(503, "runtime_unavailable") if len(keys) == 2 else httpx.Response(202, json=INFO)

    async with client(handler) as sdk:
        info = await sdk.create_sandbox(SandboxSpec(agent_provider="command"))
    assert info.id == ID
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize("answer", [httpx.ConnectError("nobody"), error(422, "invalid_request")])
async def test_a_create_that_cannot_succeed_is_not_repeated(answer: Exception | httpx.Response) -> None:
    calls: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with client(handler) as sdk:
        with pytest.raises((ServerUnreachable, InvalidRequest)):
            await sdk.create_sandbox(SandboxSpec(agent_provider="command"))
    assert len(calls) == 1


async def test_a_create_sends_secrets_and_leaves_defaults_out() -> None:
    bodies: list[object] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(202, json=INFO)

    async with client(handler) as sdk:
        spec = {"agent_provider": "command", "env_vars": {"A": "s"}}
        await sdk.create_sandbox(SandboxSpec.model_validate(spec))
    assert bodies == [spec]


async def test_a_stream_gives_its_frames_and_ends_with_the_exit() -> None:
    body = 'data: {"type":"stdout","text":"a"}\n\n: keepalive\n\n'
    body += 'data: {"type":"exit","code":3,"duration_ms":1}\n\n'
    async with client(lambda request: httpx.Response(200, text=body)) as sdk:
        frames = [frame async for frame in sdk.exec_stream("box", ExecRequest(command=["x"]))]
    assert frames == [OutputFrame(type="stdout", text="a"), ExitFrame(code=3, duration_ms=1)]


async def test_a_stream_that_ends_before_its_command_is_an_error() -> None:
    body = 'data: {"type":"stdout","text":"a"}\n\n'
    async with client(lambda request: httpx.Response(200, text=body)) as sdk:
        with pytest.raises(ServerUnreachable, match="before the command ended"):
            [frame async for frame in sdk.exec_stream("box", ExecRequest(command=["x"]))]


async def test_an_error_frame_is_raised() -> None:
    body = 'data: {"type":"error","error":{"code":"sandbox_not_found","message":"gone"}}\n\n'
    async with client(lambda request: httpx.Response(200, text=body)) as sdk:
        with pytest.raises(SandboxNotFound, match="gone"):
            [frame async for frame in sdk.exec_stream("box", ExecRequest(command=["x"]))]


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/etc/hostname", "etc/hostname"),
        ("~/a b", "~/a%20b"),
        ("notes", "~/workspace/notes"),
        ("/a'\"\n?#%", "a%27%22%0A%3F%23%25"),
        ("/a/../b/./c", "a/%2E%2E/b/%2E/c"),
        ("/ä", "%C3%A4"),
    ],
)
async def test_any_file_name_reaches_the_server_whole(path: str, raw: str) -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(204)

    async with client(handler) as sdk:
        await sdk.delete_file("my box", path)
    assert seen == [f"/api/v1/sandboxes/my%20box/files/{raw}".encode()]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../health"])
async def test_what_is_no_sandboxs_name_leads_to_no_other_route(name: str) -> None:
    async with client(lambda request: error(500, "internal_error")) as sdk:
        for call in (sdk.get_sandbox(name), sdk.delete_sandbox(name), sdk.delete_file(name, "x")):
            with pytest.raises(SandboxNotFound):
                await call


async def test_an_empty_path_is_not_the_workspace() -> None:
    async with client(lambda request: httpx.Response(204)) as sdk:
        with pytest.raises(InvalidRequest, match="the path is empty"):
            await sdk.delete_file("box", "")


async def test_what_is_not_text_is_refused_before_anything_is_sent() -> None:
    async with client(lambda request: error(500, "internal_error")) as sdk:
        for call in (
            sdk.get_sandbox("\udcff"),
            sdk.list_files("box", "\udcff"),
            sdk.delete_file("box", "a/\udcff"),
            anext(sdk.exec_stream("box", ExecRequest.model_construct(command=["\udcff"]))),
        ):
            with pytest.raises(InvalidRequest, match="not UTF-8"):
                await call


@pytest.mark.parametrize("key", ["é", "a\nb", "\udcff"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidRequest, match="API key") as caught:
        Client("http://h", key)
    assert key not in str(caught.value)


async def test_files_are_streamed_both_ways() -> None:
    stored: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            stored.append(request.content)
            info = {
                "path": "/x",
                "size": 3,
                "is_dir": False,
                "mode": 420,
                "modified_at": "2026-01-02T00:00:00Z",
            }
            return httpx.Response(200, json=info)
        return httpx.Response(200, content=b"".join(stored))

    async def content() -> AsyncGenerator[bytes, None]:
        yield b"a\0"
        yield b"\xff"

    async with Client("http://h", transport=Reading(handler)) as sdk:
        assert (await sdk.upload_file("box", "/x", content())).size == 3
        assert b"".join([chunk async for chunk in sdk.download_file("box", "/x")]) == b"a\0\xff"


class Reading(httpx.MockTransport):
    """Reads a streamed request before the handler sees it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await super().handle_async_request(request)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:9090", True),
        ("http://127.8.8.8", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("https://ciab.example.org", False),
        ("http://10.0.0.1", False),
    ],
)
def test_what_is_on_this_machine(url: str, *, loopback: bool) -> None:
    assert is_loopback(url) is loopback


@pytest.mark.parametrize("url", ["127.0.0.1:9090", "localhost", "ftp://h", "http://", "http://h:port", ""])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(InvalidRequest, match="not a server's address"):
        Client(url)
