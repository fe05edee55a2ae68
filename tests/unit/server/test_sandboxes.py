"""Sandboxes over HTTP."""

from typing import Any

import pytest

from tests.unit.server.desk import API, Desk


async def test_create_answers_202_with_a_pending_sandbox(desk: Desk) -> None:
    answer = await desk.http.post(API, json={"agent_provider": "command", "name": "one"})
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["name"]) == ("pending", "one")
    await desk.supervisor.rest()
    shown = (await desk.http.get(f"{API}/one")).json()
    assert shown["state"] == "running"
    assert shown["instance"]["id"].startswith("i-")


async def test_a_sandbox_is_found_by_id_prefix_and_name(desk: Desk) -> None:
    made = await desk.create(name="one")
    for reference in (made["id"], made["id"], "one"):
        assert (await desk.http.get(f"{API}/{reference}")).json()["id"] == made["id"]
    missing = await desk.http.get(f"{API}/two")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "sandbox_not_found")


async def test_delete_is_204_however_often_it_is_asked(desk: Desk) -> None:
    await desk.create(name="one")
    assert [(await desk.http.delete(f"{API}/one")).status_code for _ in range(2)] == [204, 204]
    await desk.supervisor.rest()
    assert (await desk.http.delete(f"{API}/one")).status_code == 204
    assert (await desk.http.get(f"{API}/one")).json()["state"] == "terminated"
    assert desk.world.billable() == []


async def test_stop_and_start_and_moves_that_are_not_legal(desk: Desk) -> None:
    await desk.create(name="one")
    refused = await desk.http.post(f"{API}/one/start")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "sandbox_invalid_state")
    assert (await desk.http.post(f"{API}/one/stop")).json()["state"] == "stopping"
    await desk.supervisor.rest()
    assert (await desk.http.post(f"{API}/one/start")).json()["state"] == "starting"
    await desk.supervisor.rest()
    assert (await desk.http.get(f"{API}/one")).json()["state"] == "running"


async def test_the_same_idempotency_key_gives_the_same_sandbox(desk: Desk) -> None:
    headers = {"Idempotency-Key": "k1"}
    body = {"agent_provider": "command", "env_vars": {"A": "1"}}
    first, second = [(await desk.http.post(API, json=body, headers=headers)).json()["id"] for _ in range(2)]
    assert first == second
    other = await desk.http.post(API, json={**body, "env_vars": {"A": "2"}}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert len((await desk.http.get(API)).json()) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_an_idempotency_key_that_is_none_is_refused(desk: Desk, key: str) -> None:
    answer = await desk.http.post(API, json={"agent_provider": "command"}, headers={"Idempotency-Key": key})
    assert answer.status_code == 422


async def test_a_taken_name_is_a_conflict(desk: Desk) -> None:
    await desk.create(name="one")
    answer = await desk.http.post(API, json={"agent_provider": "command", "name": "one"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_the_list_is_filtered_and_paged_newest_first(desk: Desk) -> None:
    for number in range(5):
        await desk.create(name=f"n{number}", labels={"odd": str(number % 2), "all": "yes"})
    await desk.http.delete(f"{API}/n0")
    await desk.supervisor.rest()

    async def names(query: str) -> list[str]:
        return [one["name"] for one in (await desk.http.get(f"{API}?{query}")).json()]

    assert await names("state=running") == ["n4", "n3", "n2", "n1"]
    assert await names("state=terminated&provider=command") == ["n0"]
    assert await names("provider=claude-code") == []
    assert await names("labels=odd=1,all=yes") == ["n3", "n1"]
    first = await desk.http.get(f"{API}?limit=2")
    assert [one["name"] for one in first.json()] == ["n4", "n3"]
    cursor = first.headers["x-next-cursor"]
    assert cursor == first.json()[-1]["id"]
    assert f"cursor={cursor}" in first.headers["link"]
    assert await names(f"limit=2&cursor={cursor}") == ["n2", "n1"]
    assert "x-next-cursor" not in (await desk.http.get(f"{API}?limit=5")).headers


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("state=gone", "state"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("labels=x", "k=v"),
        ("cursor=nobody", "cursor"),
    ],
)
async def test_a_query_that_cannot_be_understood_is_refused(desk: Desk, query: str, word: str) -> None:
    answer = await desk.http.get(f"{API}?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "invalid_request"
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "agent_provider"),
        ({"agent_provider": "command", "nmae": "x"}, "nmae"),
        ({"agent_provider": "claude-code"}, "claude-code"),
        ({"agent_provider": "command", "name": "a\nb"}, "name"),
        ({"agent_provider": "command", "ec2": {"tags": {"aws:x": "y"}}}, "aws:"),
        ({"agent_provider": "command", "ec2": {"tags": {"ciab-managed": "no"}}}, "ciab-managed"),
        ({"agent_provider": "command", "ec2": {"tags": {f"t{n}": "" for n in range(51)}}}, "tags"),
    ],
)
async def test_bad_specs_are_refused_and_nothing_changes(desk: Desk, body: Any, word: str) -> None:
    answer = await desk.http.post(API, json=body)
    assert answer.status_code == 422
    assert word in answer.json()["error"]["message"]
    assert (await desk.http.get(API)).json() == []


async def test_a_refusal_does_not_repeat_a_secret(desk: Desk) -> None:
    body = {
        "agent_provider": "command",
        "env_vars": {"K": "sup3rs3cret\0"},
        "git_repos": [{"url": "sup3rs3cret"}],
    }
    answer = await desk.http.post(API, json=body)
    assert answer.status_code == 422
    assert "sup3rs3cret" not in answer.text
