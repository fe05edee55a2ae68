"""The event stream: replay, live hand-over, eviction, its end."""

import asyncio
import json
from typing import Any

from ciab.core.events import StreamEvent
from ciab.core.ids import SandboxId
from tests.unit.control.world import World
from tests.unit.server.desk import API, Desk, Exchange, desk_over, frames

UNKEPT = ("connected", "keepalive", "reconnect")


async def story(desk: Desk, query: str = "", **headers: str) -> list[dict[str, Any]]:
    """The stream of a sandbox that has ended."""
    answer = await desk.http.get(f"{API}/one/stream{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    return frames(answer.text)


async def ended(desk: Desk) -> dict[str, Any]:
    made = await desk.create(name="one")
    await desk.http.delete(f"{API}/one")
    await desk.supervisor.rest()
    return made


def ids(told: list[dict[str, Any]]) -> list[int]:
    return [int(frame["id"]) for frame in told if "id" in frame]


async def test_the_whole_story_begins_with_connected_and_ends_with_the_sandbox(desk: Desk) -> None:
    made = await ended(desk)
    told = await story(desk)
    assert told[0]["event"] == "connected"
    assert "id" not in told[0]
    assert all("id" in frame for frame in told if frame["event"] not in UNKEPT)
    for frame in told:
        assert frame["data"]["sandbox_id"] == made["id"]
        assert frame["data"]["event_type"] == frame["event"]
        assert frame["data"]["id"] == (int(frame["id"]) if "id" in frame else None)
    assert ids(told) == sorted(set(ids(told)))
    steps = [f["data"]["data"] for f in told if f["event"] == "provisioning_step"]
    assert [s["status"] for s in steps if s["step"] == "launch_machine"] == ["begun", "done", "undone"]
    assert told[-1]["data"]["data"]["to"] == "terminated"


async def test_replay_goes_on_after_any_id_by_header_or_query(desk: Desk) -> None:
    await ended(desk)
    every = ids(await story(desk))
    for last in every:
        later = [one for one in every if one > last]
        assert ids(await story(desk, f"?last_event_id={last}")) == later
        assert ids(await story(desk, **{"Last-Event-ID": str(last)})) == later
    assert ids(await story(desk, "?last_event_id=0")) == every
    both = await story(desk, f"?last_event_id={every[0]}", **{"Last-Event-ID": str(every[2])})
    assert ids(both) == every[3:]


async def test_an_evicted_id_gets_reconnect_with_the_oldest(desk: Desk) -> None:
    made = await ended(desk)
    every = ids(await story(desk))
    kept = desk.world.database.events._kept[SandboxId(made["id"])]
    del kept[:4]
    told = await story(desk, f"?last_event_id={every[0]}")
    assert [frame["event"] for frame in told[:2]] == ["connected", "reconnect"]
    assert told[1]["data"]["data"] == {"oldest_id": every[4]}
    assert ids(told) == every[4:]
    assert "reconnect" not in [frame["event"] for frame in await story(desk)]


async def test_what_is_no_id_is_refused(desk: Desk) -> None:
    await ended(desk)
    for odd in ("x", "-1", str(2**63)):
        for answer in (
            await desk.http.get(f"{API}/one/stream?last_event_id={odd}"),
            await desk.http.get(f"{API}/one/stream", headers={"Last-Event-ID": odd}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert (await desk.http.get(f"{API}/two/stream")).status_code == 404


async def test_live_events_follow_the_kept_ones_without_gap(desk: Desk) -> None:
    made = await desk.create(name="one")
    exchange = Exchange(desk.app, "GET", f"{API}/one/stream")
    working = exchange.begin()
    await exchange.text()
    for number in range(3):
        desk.world.database.events.record(SandboxId(made["id"]), [("log_line", {"line": str(number)})])
    await desk.http.delete(f"{API}/one")
    async with asyncio.timeout(5):
        await working
    told = []
    while not exchange.sent.empty():
        message = exchange.sent.get_nowait()
        if message.get("body"):
            told += frames(message["body"].decode())
    kept = [event.id for event in _kept(desk, made)]
    assert ids(told) == kept
    assert [f["data"]["data"]["line"] for f in told if f["event"] == "log_line"] == ["0", "1", "2"]


async def test_keepalives_are_events_without_an_id_and_a_client_may_leave() -> None:
    async with desk_over(World(), keepalive_secs=0.01) as desk:
        await desk.create(name="one")
        exchange = Exchange(desk.app, "GET", f"{API}/one/stream")
        working = exchange.begin()
        text = ""
        async with asyncio.timeout(5):
            while "event: keepalive" not in text:
                text = await exchange.text()
            exchange.leave()
            await working
    assert not text.startswith("id:")
    assert json.loads(text.partition("data: ")[2])["event_type"] == "keepalive"
    assert desk.world.database.events._wakers == set()


def _kept(desk: Desk, made: dict[str, Any]) -> list[StreamEvent]:
    return desk.world.database.events._kept[SandboxId(made["id"])]
