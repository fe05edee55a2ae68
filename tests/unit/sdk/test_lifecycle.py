"""Moves, recovery, costs and the sweep, as the client asks for them."""

import json

import httpx
import pytest

from ciab.sdk.client import Deleted
from tests.unit.sdk.answers import ID, INFO, client


async def test_a_recovery_whose_answer_is_lost_is_repeated_by_the_lost_ones_id() -> None:
    asked: list[tuple[str, str, str | None]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.headers.get("idempotency-key")))
        if request.method == "GET":
            return httpx.Response(200, json=INFO)
        assert json.loads(request.content) == {"name": "new"}
        if len(asked) == 2:
            raise httpx.ReadError("lost")
        return httpx.Response(202, json={**INFO, "name": "new"})

    async with client(handler) as sdk:
        assert (await sdk.recover_sandbox("box", "new")).name == "new"
    assert [path for _, path, _ in asked[1:]] == [f"/api/v1/sandboxes/{ID}/recover"] * 2
    assert asked[0][:2] == ("GET", "/api/v1/sandboxes/box")
    assert asked[1][2] == asked[2][2] is not None


async def test_a_delete_tells_what_it_left() -> None:
    headers = {"X-CIAB-Released-Instance": "i-1", "X-CIAB-Notice": "instance i-1 is yours"}
    async with client(lambda request: httpx.Response(204, headers=headers)) as sdk:
        assert await sdk.delete_sandbox("box") == Deleted("i-1", "instance i-1 is yours")
    async with client(lambda request: httpx.Response(204)) as sdk:
        assert await sdk.delete_sandbox("box") == Deleted(None, None)


@pytest.mark.parametrize("verb", ["start", "stop", "pause", "resume"])
async def test_moves_are_posts_under_their_names(verb: str) -> None:
    asked: list[tuple[str, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json=INFO)

    async with client(handler) as sdk:
        assert (await getattr(sdk, f"{verb}_sandbox")("box")).id == ID
    assert asked == [("POST", f"/api/v1/sandboxes/box/{verb}")]


async def test_a_sweep_sends_what_is_asked_and_reads_what_a_newer_server_adds() -> None:
    verdict = {
        "action": "ended",
        "reason": "sandbox box is failed",
        "kind": "machine",
        "id": "i-1",
        "region": "us-east-1",
        "sandbox_id": ID,
        "state": "running",
        "mood": "good",
    }
    bodies: list[object] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=[verdict])

    async with client(handler) as sdk:
        [found] = await sdk.collect_garbage(dry_run=True, owner=ID)
    assert (found.id, found.action, found.born_at) == ("i-1", "ended", None)
    assert bodies == [{"dry_run": True, "owner": ID}]


async def test_costs_are_read() -> None:
    told = {
        "at": "2026-01-02T03:04:05Z",
        "today_usd": 1.5,
        "sandboxes": [{"id": ID, "name": "box", "state": "paused", "cost": {"usd": None, "usd_hour": None}}],
        "workspaces": {"web": 1.5},
        "budgets": {"per_sandbox": 0, "per_workspace": 0, "per_day": 5},
    }
    async with client(lambda request: httpx.Response(200, json=told)) as sdk:
        report = await sdk.get_costs()
    assert (report.today_usd, report.budgets.per_day, report.currency) == (1.5, 5, "USD")
    assert (report.sandboxes[0].cost.usd, report.sandboxes[0].workspace) == (None, None)
