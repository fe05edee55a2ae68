"""A server whose process stands still for longer than the idle timeout: what was in use is not put to rest.

The time counts, as on a server that was merely slow; but before anything is called idle its machine's pulse
is taken anew, and whoever waited meanwhile is served.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.server import server

IDLE = 4
CONFIG = {"server": {"watch_interval_secs": 1}, "runtime": {"ec2": {"idle_timeout_secs": IDLE}}}
BURN = "setsid sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 & echo $!"
USED = ("visited", "open", "busy")


async def test_a_standstill_for_longer_than_the_idle_timeout(tmp_path: Path) -> None:
    async with server(tmp_path, CONFIG) as here, here.client() as client:
        for name in (*USED, "forgotten"):
            await client.create_sandbox(SandboxSpec(agent_provider="command", name=name))
        for name in (*USED, "forgotten"):
            assert (await client.wait_until(name)).state is State.RUNNING
        await client.exec("busy", sh(BURN))
        async with visits(client), an_open_command(client):
            forgotten = await client.wait_until("forgotten", {State.PAUSED})
            assert forgotten.reason
            assert "idle" in forgotten.reason
            before = [await client.get_sandbox(name) for name in USED]

            os.kill(here.pid, signal.SIGSTOP)
            await asyncio.sleep(2 * IDLE)
            os.kill(here.pid, signal.SIGCONT)
            await asyncio.sleep(2 * IDLE)  # several rounds of the watch

            after = [await client.get_sandbox(name) for name in USED]
        assert [one.state for one in before] == [State.RUNNING] * 3
        assert [(one.state, one.updated_at) for one in after] == [
            (State.RUNNING, one.updated_at) for one in before
        ]
        # nobody uses these two any more
        for name in ("visited", "open"):
            assert (await client.wait_until(name, {State.PAUSED})).state is State.PAUSED
        assert (await client.get_sandbox("busy")).state is State.RUNNING


def sh(script: str) -> ExecRequest:
    return ExecRequest(command=["sh", "-c", script])


@asynccontextmanager
async def visits(client: Client) -> AsyncIterator[None]:
    """Somebody who runs a short command now and then."""

    async def visit() -> None:
        while True:
            assert (await client.exec("visited", sh("true"))).exit_code == 0
            await asyncio.sleep(IDLE / 10)  # the time between two visits

    visiting = asyncio.create_task(visit())
    try:
        yield
        assert not visiting.done()
    finally:
        visiting.cancel()
        with suppress(asyncio.CancelledError):
            await visiting


@asynccontextmanager
async def an_open_command(client: Client) -> AsyncIterator[None]:
    """Somebody who waits for a command that does nothing."""
    frames = client.exec_stream("open", sh("echo begun; sleep 600"))
    assert (await anext(frames)).type == "stdout"
    try:
        yield
    finally:
        await frames.aclose()
