"""Commands that cannot run as asked, much output, and sandboxes that take no commands."""

import asyncio
import base64
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ciab.core.states import State
from ciab.schema.spec import SandboxSpec
from tests.refusals import SECRET, refusal
from tests.server import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

API = "/api/v1/sandboxes"
LENGTH = 100_000_000
NUMBERS = ["bash", "-c", f"seq 1 20000000 | head -c {LENGTH}"]
"""Output of LENGTH bytes, of which no two places are alike."""


@pytest.mark.parametrize("route", ["exec", "exec/stream"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "command: it is required"),
        ({"command": []}, "command is empty: its first word names a program"),
        ({"command": ["", "x"]}, "command is empty"),
        ({"command": "ls"}, "command: "),
        ({"command": ["a\0"]}, "command.0: a NUL character is not allowed"),
        ({"command": ["a", "\ud800"]}, "command.1: it has characters that UTF-8 cannot carry"),
        ({"command": ["true"], "timeout_secs": -1}, "timeout_secs: "),
        ({"command": ["true"], "timeout_secs": 1e999}, "timeout_secs: "),
        ({"command": ["true"], "env": {"A=B": SECRET}}, "the name of an environment variable"),
        ({"command": ["true"], "env": {"A": SECRET + "\0"}}, "env.A: a NUL character"),
        ({"command": ["true"], "workdir": ""}, "workdir: a path has 1 to 4096 bytes"),
        ({"command": ["true"], "workdir": "a\nb"}, "workdir: control characters"),
        ({"command": ["true"], "stdin": "%", "encoding": "base64"}, "stdin is not base64"),
        ({"command": ["true"], "tty": True}, "cannot run a command on a terminal yet; leave tty out"),
        ({"comand": ["true"]}, "unknown field comand (and 1 more); did you mean command?"),
    ],
)
@pytest.mark.usefixtures("nothing_changes")
async def test_what_is_no_command(
    http: httpx.AsyncClient, route: str, body: dict[str, Any], said: str
) -> None:
    content = json.dumps(body).encode()
    answer = await http.post(
        f"{API}/box/{route}", content=content, headers={"Content-Type": "application/json"}
    )
    assert said in refusal(answer, 422, "invalid_request")


@pytest.mark.parametrize("workdir", ["/no/such/folder", "/etc/passwd"])
async def test_a_folder_that_is_none(http: httpx.AsyncClient, workdir: str) -> None:
    body = {"command": ["true"], "workdir": workdir}
    said = refusal(await http.post(f"{API}/box/exec", json=body), 422, "invalid_request")
    assert said.startswith(f"cannot enter the working directory {workdir}: ")
    answer = await http.post(f"{API}/box/exec/stream", json=body)
    [frame] = frames(answer.text)
    assert (frame["type"], frame["error"]["code"]) == ("error", "invalid_request")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["no-such-program"], 127, "no-such-program: No such file or directory"),
        (["./no/such"], 127, "./no/such: No such file or directory"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (["/etc"], 126, "/etc: Permission denied"),
        (["true", "x" * 200_000], 126, "Argument list too long"),
        (["bash", "-c", "kill -9 $$"], 137, ""),
    ],
)
async def test_what_cannot_be_run_is_a_result(
    http: httpx.AsyncClient, command: list[str], code: int, said: str
) -> None:
    ran = (await http.post(f"{API}/box/exec", json={"command": command})).json()
    assert ran["exit_code"] == code
    assert said in ran["stderr"]
    assert len(ran["stderr"]) < 1000
    last = frames((await http.post(f"{API}/box/exec/stream", json={"command": command})).text)[-1]
    assert (last["type"], last["code"]) == ("exit", code)


async def test_100_mb_stream_whole_and_are_cut_in_a_result_in_little_memory(
    shared: RunningServer, http: httpx.AsyncClient
) -> None:
    before = most_memory_mib(shared)
    digest, length = hashlib.sha256(), 0
    body = {"command": NUMBERS, "encoding": "base64"}
    async with http.stream("POST", f"{API}/box/exec/stream", json=body) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                frame = json.loads(line.removeprefix("data: "))
                piece = base64.b64decode(frame.get("text", ""))
                digest.update(piece)
                length += len(piece)
    assert (frame["type"], frame["code"], length) == ("exit", 0, LENGTH)
    alike = {"command": ["bash", "-c", f"{NUMBERS[-1]} | sha256sum"]}
    assert (await http.post(f"{API}/box/exec", json=alike)).json()["stdout"].split()[0] == digest.hexdigest()
    assert most_memory_mib(shared) - before < 40

    ran = (await http.post(f"{API}/box/exec", json=body)).json()
    assert (ran["exit_code"], ran["truncated"]) == (0, True)
    assert len(base64.b64decode(ran["stdout"])) == 10 * 1024 * 1024
    assert most_memory_mib(shared) - before < 150


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def resting(shared: RunningServer) -> AsyncIterator[dict[str, str]]:
    """Sandboxes that take no commands, by state."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/repository"
        async with shared.client() as client:
            made = [
                client.create_sandbox(SandboxSpec.model_validate({"agent_provider": "command", **fields}))
                for fields in (
                    {"name": "creating", "git_repos": [{"url": url}]},
                    {"name": "stopped", "persistence": "persistent"},
                    {"name": "failed", "image": "ami-0123456789abcdef0"},
                    {"name": "terminated"},
                )
            ]
            creating, stopped, failed, terminated = [one.id for one in await asyncio.gather(*made)]
            await asyncio.gather(*(client.wait_until(one) for one in (stopped, failed, terminated)))
            await client.stop_sandbox(stopped)
            await client.delete_sandbox(terminated)
            await asyncio.gather(client.wait_until(stopped), client.wait_until(terminated))
            yield {"creating": creating, "stopped": stopped, "failed": failed, "terminated": terminated}
            await client.delete_sandbox(creating)
            await client.delete_sandbox(stopped)
            await asyncio.gather(
                client.wait_until(creating, {State.TERMINATED}),
                client.wait_until(stopped, {State.TERMINATED}),
            )


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("creating", "wait until it is running"),
        ("stopped", "start it first"),
        ("failed", "its `failure` says why"),
        ("terminated", "it has ended; create a new one"),
    ],
)
async def test_work_for_a_sandbox_that_does_not_run(
    http: httpx.AsyncClient, resting: dict[str, str], state: str, hint: str
) -> None:
    for method, rest, body in (
        ("POST", "/exec", {"command": ["true"]}),
        ("POST", "/exec/stream", {"command": ["true"]}),
        ("GET", "/files", None),
        ("GET", "/files/etc/passwd", None),
        ("PUT", "/files/tmp/x", None),
        ("DELETE", "/files/tmp/x", None),
        ("POST", "/stop", None),
    ):
        answer = await http.request(method, f"{API}/{resting[state]}{rest}", json=body)
        said = refusal(answer, 409, "sandbox_invalid_state")
        assert f"is {state}" in said
        assert hint in said or rest == "/stop"


def frames(text: str) -> list[dict[str, Any]]:
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


def most_memory_mib(here: RunningServer) -> float:
    """The most that the server's process ever had resident."""
    status = Path(f"/proc/{here.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
