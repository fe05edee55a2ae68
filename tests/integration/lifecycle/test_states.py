"""Every verb in every state: what is not legal is refused with a hint, and changes nothing.

A moving state lasts as long as the region refuses the call that it needs. Only `pending`, which needs none,
is not here.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ciab.core.states import MOVING, State
from ciab.sdk.client import Client
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, persistent, shell, spec
from tests.server import RunningServer, server

API = "/api/v1/sandboxes"
ASKED = ("RunInstances", "StopInstances", "StartInstances", "TerminateInstances")
GOALS = {
    State.CREATING: State.RUNNING,
    State.PAUSING: State.PAUSED,
    State.STOPPING: State.STOPPED,
    State.STARTING: State.RUNNING,
    State.TERMINATING: State.TERMINATED,
}
AT_REST = (State.RUNNING, State.PAUSED, State.STOPPED, State.TERMINATED, State.FAILED)
LEGAL = {
    State.RUNNING: {"stop", "pause"},
    State.PAUSED: {"stop", "resume"},
    State.STOPPED: {"start"},
    State.TERMINATED: {"recover"},
    State.FAILED: {"recover"},
}
"""Each of them is done on the way to some other state; a delete is legal everywhere."""
VERBS = ("start", "stop", "pause", "resume", "recover")
KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
Asked = Mapping[str, tuple[str, str, Mapping[str, Any]]]
"""Method, path and what else is sent, by what a person would call it."""
ACCESS: Asked = {
    "exec": ("POST", "/exec", {"json": {"command": ["touch", "/tmp/mark"]}}),
    "exec as a stream": ("POST", "/exec/stream", {"json": {"command": ["touch", "/tmp/mark"]}}),
    "list": ("GET", "/files?path=/", {}),
    "read": ("GET", "/files/etc/hostname", {}),
    "write": ("PUT", "/files/tmp/mark", {"content": b"x"}),
    "remove": ("DELETE", "/files/etc/hostname", {}),
    "ssh": ("POST", "/ssh-access", {"json": {"public_key": KEY, "ttl_secs": 60}}),
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, config()) as running:
        yield running
        await acting.region_of(running).set_faults(throttle=[])


async def held(here: RunningServer, client: Client) -> dict[State, str]:
    """A sandbox in each of the states, which none of them leaves; by state its id."""
    names = [str(state) for state in State if state not in (State.PENDING, State.CREATING, State.FAILED)]
    made = {info.name: info.id for info in await acting.running(client, *map(persistent, names))}
    failing = await client.create_sandbox(spec("failed", provisioning_scripts=["exit 1"]))
    for name in ("paused", "stopped", "starting", "terminated"):
        await {"paused": client.pause_sandbox, "terminated": client.delete_sandbox}.get(
            name, client.stop_sandbox
        )(name)
    await becomes(client, failing.id, State.FAILED)
    await becomes(client, made["paused"], State.PAUSED)
    await becomes(client, made["terminated"], State.TERMINATED)
    for name in ("stopped", "starting"):
        await becomes(client, made[name], State.STOPPED)

    await acting.region_of(here).set_faults(throttle=[{"action": action} for action in ASKED])
    creating = await client.create_sandbox(spec("creating"))
    await becomes(client, creating.id, State.CREATING)
    await client.pause_sandbox("pausing")
    await client.stop_sandbox("stopping")
    await client.start_sandbox("starting")
    await client.delete_sandbox("terminating")
    made |= {"failed": failing.id, "creating": creating.id}
    return {State(name): ident for name, ident in made.items()}


async def test_every_verb_in_every_state(here: RunningServer) -> None:
    async with here.client() as client, here.http() as http:
        made = await held(here, client)
        assert set(made) == set(State) - {State.PENDING}
        before = await shown(http)
        files = await shell(client, made[State.RUNNING], "ls /tmp")
        for state, ident in made.items():
            assert before[ident]["state"] == state
            await refused(http, state, ident)
            if state is not State.RUNNING:
                assert await proxy_refused(here, ident) == 409
        assert await shown(http) == before
        assert await shell(client, made[State.RUNNING], "ls /tmp") == files

    # a server that dies while everything moves: the next one goes on
    here.kill()
    here.start()
    async with here.client() as client, here.http() as http:
        assert {one["id"]: one["state"] for one in (await shown(http)).values()} == {
            ident: str(state) for state, ident in made.items()
        }
        await acting.region_of(here).set_faults(throttle=[])
        await asyncio.gather(*(becomes(client, made[state], goal) for state, goal in GOALS.items()))
        for state in AT_REST:
            assert (await client.get_sandbox(made[state])).state is state

        await acting.region_of(here).set_faults(throttle=[{"action": ASKED[2]}])
        await client.resume_sandbox(made[State.PAUSED])
        for ident in made.values():
            for _ in range(2):
                assert (await http.delete(f"{API}/{ident}")).status_code == 204
        for state, ident in made.items():
            end = State.FAILED if state is State.FAILED else State.TERMINATED
            await becomes(client, ident, end)
        assert await here.machines() == []


async def shown(http: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """All sandboxes by their ids, without what changes by itself: their costs, and the time of a driver's
    last step."""
    listed = (await http.get(API)).json()
    still = {one["id"]: {**one, "cost": None} for one in listed}
    for one in still.values():
        if one["state"] in MOVING:
            del one["updated_at"]
    return still


async def refused(http: httpx.AsyncClient, state: State, ident: str) -> None:
    """All that is not legal in this state: 409, and what to do."""
    moves: Asked = {verb: ("POST", f"/{verb}", {}) for verb in VERBS if verb not in LEGAL.get(state, ())}
    access: Asked = {} if state is State.RUNNING else ACCESS
    for what, (method, path, body) in {**moves, **access}.items():
        answer = await http.request(method, f"{API}/{ident}{path}", **body)
        told = f"{what} of what is {state}: {answer.text}"
        assert answer.status_code == 409, told
        error = answer.json()["error"]
        assert error["code"] == "sandbox_invalid_state", told
        assert str(state) in error["message"], told
        assert error["hint"], told


async def proxy_refused(here: RunningServer, ident: str) -> int:
    """The status with which a tunnel is refused."""
    with pytest.raises(InvalidStatus) as refusal:
        await connect(f"ws{here.url.removeprefix('http')}{API}/{ident}/proxy", proxy=None)
    return refusal.value.response.status_code
