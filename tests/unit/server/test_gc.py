"""The sweep that a user asks for, over HTTP."""

from datetime import timedelta
from typing import Any

from ciab.core.errors import RuntimeRejected
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import Remain, RemainKind
from tests.unit.control.clocks import EPOCH
from tests.unit.control.world import World
from tests.unit.server.desk import API, Desk

GC = "/api/v1/gc"
LOST = OwnerId("00000000-0000-4000-8000-0000000000ff")


def left_behind(world: World, identity: str, owner: OwnerId | None = None) -> None:
    """A volume of a sandbox that no database knows, a day old."""
    stranger = SandboxId("00000000-0000-4000-8000-00000000dead")
    born_at = EPOCH - timedelta(days=1)
    remain = Remain(
        RemainKind.VOLUME,
        identity,
        "us-east-1",
        stranger,
        "available",
        free=True,
        keep=False,
        born_at=born_at,
    )
    world.remains.put(remain, owner)


async def sweep(desk: Desk, **body: object) -> list[dict[str, Any]]:
    answer = await desk.http.post(GC, json=body)
    assert answer.status_code == 200, answer.text
    verdicts: list[dict[str, Any]] = answer.json()
    return verdicts


async def test_a_dry_run_says_what_would_end_and_ends_nothing(desk: Desk) -> None:
    left_behind(desk.world, "vol-1")
    [verdict] = await sweep(desk, dry_run=True)
    assert verdict.pop("reason")
    assert verdict == {
        "action": "would_end",
        "kind": "volume",
        "id": "vol-1",
        "region": "us-east-1",
        "sandbox_id": "00000000-0000-4000-8000-00000000dead",
        "build_id": None,
        "state": "available",
        "born_at": "2025-12-31T12:00:00Z",
    }
    assert desk.world.remains.ended == []


async def test_without_a_body_it_ends_what_nobody_owns_and_spares_the_living(desk: Desk) -> None:
    await desk.create(name="one")
    left_behind(desk.world, "vol-1")
    answer = await desk.http.post(GC)
    assert [(one["id"], one["action"]) for one in answer.json()] == [("vol-1", "ended")]
    assert desk.world.remains.ended == ["vol-1"]
    assert (await desk.http.get(f"{API}/one")).json()["state"] == "running"


async def test_what_another_installation_left_is_taken_by_its_id_alone(desk: Desk) -> None:
    left_behind(desk.world, "vol-1", LOST)
    assert await sweep(desk) == []
    assert [one["action"] for one in await sweep(desk, owner=LOST)] == ["ended"]


async def test_what_cannot_be_ended_is_told(desk: Desk) -> None:
    left_behind(desk.world, "vol-1")
    desk.world.remains.fail_next["end"] = RuntimeRejected("no permission to delete volumes")
    [verdict] = await sweep(desk)
    assert verdict["action"] == "failed"
    assert "no permission" in verdict["reason"]


async def test_an_owner_is_a_uuid(desk: Desk) -> None:
    refused = await desk.http.post(GC, json={"owner": "me"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
    assert "owner" in refused.json()["error"]["message"]
