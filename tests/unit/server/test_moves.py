"""Every move that a user may ask for, from every state: what is not legal is refused and changes nothing."""

from dataclasses import replace
from typing import Any

import pytest

from ciab.control.policy import Policy
from ciab.core.errors import CapacityUnavailable, GuestFault
from ciab.core.ids import SandboxId
from ciab.core.machine import KeyPair, Login
from ciab.core.secret import Secret
from ciab.core.states import ENDED, LIVE, State
from ciab.testing.machines import FakeMachines
from tests.unit.control.world import SITE, World
from tests.unit.server.desk import API, Desk, desk_over

LEGAL = {
    ("start", State.STOPPED): State.STARTING,
    ("stop", State.RUNNING): State.STOPPING,
    ("stop", State.PAUSED): State.STOPPING,
    ("pause", State.RUNNING): State.PAUSING,
    ("resume", State.PAUSED): State.STARTING,
}
VERBS = ("start", "stop", "pause", "resume")


async def put(desk: Desk, state: State) -> dict[str, Any]:
    """A sandbox that was running and is in this state, driven by nobody."""
    made = await desk.create(name="one")
    store = desk.world.database.store
    await store.save(replace(await store.get(SandboxId(made["id"])), state=state))
    return await shown(desk)


async def shown(desk: Desk, name: str = "one") -> dict[str, Any]:
    answer: dict[str, Any] = (await desk.http.get(f"{API}/{name}")).json()
    return answer


async def moved(desk: Desk, verb: str) -> dict[str, Any]:
    """The sandbox when it has come to rest after a move that was taken on."""
    answer = await desk.http.post(f"{API}/one/{verb}")
    assert answer.status_code == 200, answer.text
    await desk.supervisor.rest()
    return await shown(desk)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("verb", VERBS)
async def test_the_table_of_moves(desk: Desk, verb: str, state: State) -> None:
    before = await put(desk, state)
    answer = await desk.http.post(f"{API}/one/{verb}")
    if goal := LEGAL.get((verb, state)):
        assert (answer.status_code, answer.json()["state"]) == (200, goal)
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "sandbox_invalid_state")
        assert "one" in answer.json()["error"]["message"]
        assert await shown(desk) == before


@pytest.mark.parametrize("state", list(State))
async def test_a_delete_is_legal_in_every_state(desk: Desk, state: State) -> None:
    before = await put(desk, state)
    assert (await desk.http.delete(f"{API}/one")).status_code == 204
    if state in ENDED:
        assert await shown(desk) == before
    else:
        assert (await shown(desk))["state"] == "terminating"


@pytest.mark.parametrize("state", list(State))
async def test_only_what_has_ended_is_recovered(desk: Desk, state: State) -> None:
    before = await put(desk, state)
    answer = await desk.http.post(f"{API}/{before['id']}/recover")
    if state in LIVE:
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "sandbox_invalid_state")
        assert [one["id"] for one in (await desk.http.get(API)).json()] == [before["id"]]
    else:
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")


@pytest.mark.parametrize(
    ("stops", "held", "alive"), [(True, "stopped", "stopped"), (False, "frozen", "running")]
)
async def test_a_pause_holds_the_sandbox_as_configured(*, stops: bool, held: str, alive: str) -> None:
    world = World(policy=Policy(stop_on_pause=stops))
    async with desk_over(world) as desk:
        made = await desk.create(name="one")
        paused = await moved(desk, "pause")
        assert (paused["state"], paused["held"]) == ("paused", held)
        assert [machine.state for machine in world.machines.alive()] == [alive]
        refused = await desk.http.post(f"{API}/one/exec", json={"command": ["true"]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "sandbox_invalid_state")
        assert refused.json()["error"]["hint"] == "resume it first"
        running = await moved(desk, "resume")
        assert (running["state"], running["held"], running["id"]) == ("running", None, made["id"])
        assert (await desk.http.post(f"{API}/one/exec", json={"command": ["true"]})).status_code == 200


async def test_an_access_resumes_a_paused_sandbox_where_that_is_configured() -> None:
    async with desk_over(World(policy=Policy(auto_resume=True))) as desk:
        await desk.create(name="one")
        await moved(desk, "pause")
        ran = await desk.http.post(f"{API}/one/exec", json={"command": ["echo", "up"]})
        assert (ran.status_code, ran.json()["stdout"]) == (200, "up\n")
        assert (await shown(desk))["state"] == "running"


async def test_a_resume_without_capacity_leads_back_and_the_next_one_works(desk: Desk) -> None:
    made = await desk.create(name="one")
    await moved(desk, "pause")
    desk.world.machines.fail_next["start"] = CapacityUnavailable("no t3.medium is left")
    after = await moved(desk, "resume")
    assert (after["state"], after["failure"]["code"]) == ("paused", "capacity_unavailable")
    assert "no t3.medium is left" in after["failure"]["message"]
    again = await moved(desk, "resume")
    assert (again["state"], again["failure"], again["id"]) == ("running", None, made["id"])


async def test_a_resume_whose_machine_is_not_ours_leads_back_and_the_next_one_works(desk: Desk) -> None:
    await desk.create(name="one")
    await moved(desk, "pause")
    desk.world.connections.fail_next["connect"] = GuestFault("another host key")
    after = await moved(desk, "resume")
    assert (after["state"], after["failure"]["code"]) == ("paused", "ssh_error")
    assert (await moved(desk, "resume"))["state"] == "running"


async def test_a_recovered_sandbox_has_spec_and_name_of_the_lost_one(desk: Desk) -> None:
    lost = await desk.create(name="one", labels={"a": "b"}, env_vars={"K": "secret"}, timeout_secs=60)
    await desk.http.delete(f"{API}/one")
    await desk.supervisor.rest()
    answer = await desk.http.post(f"{API}/{lost['id']}/recover", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["recovered_from"]) == (202, lost["id"])
    again = await desk.http.post(f"{API}/{lost['id']}/recover", headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == answer.json()["id"]
    await desk.supervisor.rest()
    new = await shown(desk)
    assert (new["name"], new["state"], new["labels"]) == ("one", "running", {"a": "b"})
    assert new["spec"] == lost["spec"]
    env = await desk.http.post(f"{API}/one/exec", json={"command": ["env"]})
    assert env.json()["stdout"] == "K=secret\n"


async def test_a_recovered_sandbox_may_have_a_name_of_its_own(desk: Desk) -> None:
    lost = await desk.create(name="one")
    await desk.http.delete(f"{API}/one")
    await desk.supervisor.rest()
    answer = await desk.http.post(f"{API}/{lost['id']}/recover", json={"name": "two"})
    assert (answer.status_code, answer.json()["name"]) == (202, "two")
    bad = await desk.http.post(f"{API}/{lost['id']}/recover", json={"nmae": "x"})
    assert (bad.status_code, bad.json()["error"]["hint"]) == (422, "did you mean name?")


async def test_one_key_serves_one_wish_only(desk: Desk) -> None:
    lost = await desk.create(name="one")
    await desk.http.delete(f"{API}/one")
    await desk.supervisor.rest()
    headers = {"Idempotency-Key": "k"}
    await desk.http.post(f"{API}/{lost['id']}/recover", json={"name": "two"}, headers=headers)
    other = await desk.http.post(f"{API}/{lost['id']}/recover", json={"name": "three"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")


@pytest.mark.parametrize(("key_pair", "key"), [("", "its SSH key is gone"), ("mine", "still your key pair")])
async def test_a_delete_that_leaves_the_machine_names_it(key_pair: str, key: str) -> None:
    login = Login("ubuntu", 22, "public", key_pair)
    world = World(
        policy=Policy(terminate_on_delete=False),
        named={"mine": KeyPair("ssh-ed25519 AAAAmine", Secret("private"))},
        place=replace(SITE, login=login),
    )
    async with desk_over(world) as desk:
        made = await desk.create(name="one")
        instance = made["instance"]["id"]
        for _ in range(2):
            answer = await desk.http.delete(f"{API}/{made['id']}")
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["x-ciab-released-instance"] == instance
            assert (
                f"instance {instance} is stopped and left to you in us-east-1"
                in answer.headers["x-ciab-notice"]
            )
            assert key in answer.headers["x-ciab-notice"]
            await desk.supervisor.rest()
        assert (await shown(desk))["state"] == "terminated"
        assert list(world.machines.released) == [instance]


async def test_an_ordinary_delete_leaves_nothing_to_name(desk: Desk) -> None:
    await desk.create(name="one")
    assert "x-ciab-notice" not in (await desk.http.delete(f"{API}/one")).headers


async def test_a_spot_sandbox_cannot_be_paused_and_says_what_can_be_done() -> None:
    async with desk_over(World(machines=FakeMachines(spot=True))) as desk:
        before = await desk.create(name="one")
        assert before["instance"]["spot"] is True
        for verb in ("pause", "stop"):
            refused = await desk.http.post(f"{API}/one/{verb}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "sandbox_invalid_state")
            assert "--no-spot" in refused.json()["error"]["hint"]
        assert await shown(desk) == before


async def test_a_lifetime_is_told_as_the_time_of_its_end(desk: Desk) -> None:
    made = await desk.create(name="one", timeout_secs=3600)
    assert made["expires_at"] is not None
    assert (await desk.create(name="two"))["expires_at"] is None
    await desk.http.delete(f"{API}/one")
    await desk.supervisor.rest()
    assert (await shown(desk))["expires_at"] is None


async def test_a_life_longer_than_the_longest_is_refused() -> None:
    async with desk_over(World(policy=Policy(max_lifetime=60))) as desk:
        refused = await desk.http.post(API, json={"agent_provider": "command", "timeout_secs": 61})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")
        assert "max_lifetime_secs" in refused.json()["error"]["hint"]
        assert (await desk.http.get(API)).json() == []
