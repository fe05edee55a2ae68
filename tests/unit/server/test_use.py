"""What goes on inside a sandbox keeps it in use, until its answer has ended, however that ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ciab.core.ids import SandboxId
from ciab.testing.guest import Call, FakeConnections
from tests.unit.control.world import World
from tests.unit.server.desk import API, Desk, Exchange, desk_over


class Gate:
    """A program that runs until the test lets it end."""

    def __init__(self) -> None:
        self.entered, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, call: Call) -> int:
        call.out(b"in\n")
        self.entered.set()
        await self.open.wait()
        return 0


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def busy(gate: Gate) -> AsyncIterator[Desk]:
    async with desk_over(World(connections=FakeConnections(programs={"gate": gate}))) as desk:
        await desk.create(name="one")
        yield desk


async def idle_for(desk: Desk) -> float:
    """Seconds since the last use, an hour from now."""
    sandbox = SandboxId((await desk.http.get(f"{API}/one")).json()["id"])
    desk.activity.idle_for(sandbox)
    desk.world.clock.now += 3600
    return desk.activity.idle_for(sandbox)


async def test_a_command_is_a_use_while_it_runs(busy: Desk, gate: Gate) -> None:
    running = asyncio.create_task(busy.http.post(f"{API}/one/exec", json={"command": ["gate"]}))
    await gate.entered.wait()
    assert await idle_for(busy) == 0.0
    gate.open.set()
    assert (await running).status_code == 200
    assert await idle_for(busy) == 3600.0


@pytest.mark.parametrize("how", ["ends", "client leaves"])
async def test_a_streamed_command_is_a_use_until_its_answer_has_ended(
    busy: Desk, gate: Gate, how: str
) -> None:
    exchange = Exchange(busy.app, "POST", f"{API}/one/exec/stream", b'{"command": ["gate"]}')
    working = exchange.begin()
    assert "in" in await exchange.text()
    assert await idle_for(busy) == 0.0
    if how == "ends":
        gate.open.set()
    else:
        exchange.leave()
    await working
    assert await idle_for(busy) == 3600.0


async def test_a_download_is_a_use_until_it_is_taken_or_given_up(busy: Desk) -> None:
    await busy.http.put(f"{API}/one/files/~/big", content=b"x" * 1_000_000)
    whole = await busy.http.get(f"{API}/one/files/~/big")
    assert len(whole.content) == 1_000_000
    assert await idle_for(busy) == 3600.0
    exchange = Exchange(busy.app, "GET", f"{API}/one/files/~/big")
    exchange.leave()
    await exchange.begin()
    assert await idle_for(busy) == 3600.0


async def test_an_upload_is_a_use_while_it_comes(busy: Desk) -> None:
    coming, more = asyncio.Event(), asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"a"
        coming.set()
        await more.wait()
        yield b"b"

    sending = asyncio.create_task(busy.http.put(f"{API}/one/files/~/f", content=content()))
    await coming.wait()
    assert await idle_for(busy) == 0.0
    more.set()
    assert (await sending).json()["size"] == 2
    assert await idle_for(busy) == 3600.0


async def test_to_look_is_no_use(busy: Desk) -> None:
    assert await idle_for(busy) == 3600.0
    await busy.http.get(f"{API}/one")
    await busy.http.get(API)
    exchange = Exchange(busy.app, "GET", f"{API}/one/stream")
    working = exchange.begin()
    await exchange.text()
    assert await idle_for(busy) == 7200.0
    exchange.leave()
    await working


async def test_a_refused_access_leaves_no_use_behind(busy: Desk) -> None:
    assert (await busy.http.get(f"{API}/one/files/etc/nothing")).status_code == 404
    assert (await busy.http.get(f"{API}/one/files/~")).status_code == 422
    assert await idle_for(busy) == 3600.0
