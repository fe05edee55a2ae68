"""`idle_timeout_secs`: what works is left alone, what only waits is paused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ciab.core.sandbox import Held
from ciab.core.states import State
from ciab.sdk.client import Client
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, shell, spec
from tests.server import RunningServer, server

IDLE_SECS = 4
WORK = {
    "spinning": "while :; do :; done",
    # no process of it lives long enough to be seen twice
    "building": "while :; do seq 3000 | sort -R | md5sum; done",
}
REST = {
    "serving": "exec python3 -m http.server 8123",
    "ticking": "while :; do sleep 1; done",
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, config({"idle_timeout_secs": IDLE_SECS})) as running:
        yield running


async def begin(client: Client, name: str, script: str) -> None:
    """Leave the script behind, in a session that can be ended as a whole."""
    await shell(client, name, f"nohup setsid bash -c '{script}' >/dev/null 2>&1 & echo $! >~/pid")


async def rests(client: Client, name: str) -> None:
    info = await becomes(client, name, State.PAUSED)
    assert (info.held, info.failure) == (Held.STOPPED, None)
    assert "idle" in (info.reason or "")


async def test_who_is_idle(here: RunningServer) -> None:
    async with here.client() as client, acting.ec2_of(here) as ec2:
        infos = await acting.running(
            client, *map(spec, [*WORK, *REST, "tunnel"]), spec("never", idle_timeout_secs=0)
        )
        for name, script in {**WORK, **REST}.items():
            await begin(client, name, script)
        async with client.proxy("tunnel"):
            await asyncio.gather(*(rests(client, name) for name in REST))
            # as long again
            await acting.running(client, spec("late"))
            await rests(client, "late")
            for name in (*WORK, "tunnel", "never"):
                assert (await client.get_sandbox(name)).state is State.RUNNING, name

        for name in WORK:
            await shell(client, name, 'pkill -KILL -s "$(cat ~/pid)"')
        await asyncio.gather(*(rests(client, name) for name in (*WORK, "tunnel")))
        states = await acting.states(ec2)
        assert {info.name for info in infos if states[instance_of(info)] == "running"} == {"never"}
