"""Commands over HTTP."""

import asyncio
import base64
from typing import Any

import pytest

from ciab.core.errors import GuestUnreachable
from ciab.server.routes.exec import KEPT_OUTPUT
from ciab.testing.guest import Call, FakeConnections
from tests.unit.control.world import World
from tests.unit.server.desk import API, Desk, Exchange, desk_over, frames

E_ACUTE = "é".encode()


async def _halves(call: Call) -> int:
    """Half a character, the other half, and one that never becomes whole."""
    for piece in (E_ACUTE[:1], E_ACUTE[1:], b"\xff"):
        call.out(piece)
        await asyncio.sleep(0)
    return 7


async def _much(call: Call) -> int:
    call.out(b"x" * (KEPT_OUTPUT + 1))
    return 0


async def _lost(call: Call) -> int:
    call.out(b"so far")
    raise GuestUnreachable("the connection broke")


def world() -> World:
    programs = {"halves": _halves, "much": _much, "lost": _lost}
    return World(connections=FakeConnections(programs=programs))


async def run(desk: Desk, **body: Any) -> dict[str, Any]:
    answer = await desk.http.post(f"{API}/one/exec", json=body)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def test_a_result_has_code_and_output(desk: Desk) -> None:
    await desk.create(name="one", env_vars={"A": "spec", "B": "spec"})
    assert (await run(desk, command=["echo", "a", "b"]))["stdout"] == "a b\n"
    assert (await run(desk, command=["false"]))["exit_code"] == 1
    assert (await run(desk, command=["nothing-of-the-kind"]))["exit_code"] == 127
    assert (await run(desk, command=["cat"], stdin="in"))["stdout"] == "in"
    assert (await run(desk, command=["pwd"]))["stdout"] == "/home/ubuntu/workspace\n"
    assert (await run(desk, command=["pwd"], workdir="~"))["stdout"] == "/home/ubuntu\n"
    env = (await run(desk, command=["env"], env={"B": "call"}))["stdout"]
    assert env.splitlines() == ["A=spec", "B=call"]


async def test_a_time_out_is_a_result(desk: Desk) -> None:
    await desk.create(name="one")
    result = await run(desk, command=["sleep", "60"], timeout_secs=0.01)
    assert (result["exit_code"], result["timed_out"]) == (124, True)


async def test_output_beyond_the_limit_is_cut_and_said() -> None:
    async with desk_over(world()) as desk:
        await desk.create(name="one")
        result = await run(desk, command=["much"])
        assert (len(result["stdout"]), result["truncated"]) == (KEPT_OUTPUT, True)


async def test_base64_carries_any_bytes_both_ways(desk: Desk) -> None:
    await desk.create(name="one")
    data = base64.b64encode(bytes(range(256))).decode()
    assert (await run(desk, command=["cat"], stdin=data, encoding="base64"))["stdout"] == data


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"command": []},
        {"command": [""]},
        {"command": "ls"},
        {"command": ["a\0"]},
        {"command": ["a"], "env": {"1X": ""}},
        {"command": ["a"], "timeout_secs": 0},
        {"command": ["a"], "encoding": "latin-1"},
        {"command": ["a"], "stdin": "no base64!", "encoding": "base64"},
        {"command": ["a"], "tty": True},
        {"command": ["a"], "comand": []},
    ],
)
@pytest.mark.parametrize("route", ["exec", "exec/stream"])
async def test_bad_commands_are_refused_before_anything_runs(
    desk: Desk, route: str, body: dict[str, Any]
) -> None:
    made = await desk.create(name="one")
    guest = (await desk.inside(made)).guest
    before = len(guest.ran)
    answer = await desk.http.post(f"{API}/one/{route}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert len(guest.ran) == before


@pytest.mark.parametrize("route", ["exec", "exec/stream"])
async def test_a_sandbox_that_does_not_run_is_a_conflict(desk: Desk, route: str) -> None:
    await desk.create(name="one")
    await desk.http.post(f"{API}/one/stop")
    await desk.supervisor.rest()
    answer = await desk.http.post(f"{API}/one/{route}", json={"command": ["true"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "sandbox_invalid_state")
    assert answer.json()["error"]["hint"] == "start it first"


async def test_a_stream_has_whole_characters_and_last_an_exit() -> None:
    async with desk_over(world()) as desk:
        await desk.create(name="one")
        answer = await desk.http.post(f"{API}/one/exec/stream", json={"command": ["halves"]})
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = [frame["data"] for frame in frames(answer.text)]
    assert [frame.get("text") for frame in sent[:-1]] == ["é", "\ufffd"]
    assert sent[-1] == {"type": "exit", "code": 7, "duration_ms": 0, "timed_out": False}


async def test_a_fault_in_the_middle_of_a_stream_is_its_last_frame() -> None:
    async with desk_over(world()) as desk:
        await desk.create(name="one")
        answer = await desk.http.post(f"{API}/one/exec/stream", json={"command": ["lost"]})
    sent = [frame["data"] for frame in frames(answer.text)]
    assert sent[0] == {"type": "stdout", "text": "so far"}
    assert sent[-1]["type"] == "error"
    assert sent[-1]["error"]["code"] == "guest_unreachable"


@pytest.mark.parametrize("route", ["exec", "exec/stream"])
async def test_a_client_that_goes_ends_its_command(desk: Desk, route: str) -> None:
    made = await desk.create(name="one")
    guest = (await desk.inside(made)).guest
    before = guest.ended
    exchange = Exchange(desk.app, "POST", f"{API}/one/{route}", b'{"command": ["sleep", "3600"]}')
    working = exchange.begin()
    while len(guest.ran) == guest.ended:
        await asyncio.sleep(0)
    exchange.leave()
    async with asyncio.timeout(5):
        await working
    assert guest.ended == before + 1


async def test_a_silent_stream_shows_that_it_lives() -> None:
    async with desk_over(World(), keepalive_secs=0.01) as desk:
        await desk.create(name="one")
        exchange = Exchange(desk.app, "POST", f"{API}/one/exec/stream", b'{"command": ["sleep", "3600"]}')
        working = exchange.begin()
        async with asyncio.timeout(5):
            assert [await exchange.text() for _ in range(2)] == [": keepalive\n\n"] * 2
            exchange.leave()
            await working
