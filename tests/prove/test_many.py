"""Many sandboxes at once: all come up, describes are shared, the server stays responsive, an end ends all."""

import asyncio
import statistics
import time
from pathlib import Path

import httpx
import pytest

from ciab.core.states import State
from ciab.schema.spec import SandboxSpec
from tests.prove.test_kill import region_of
from tests.server import RunningServer, server

POLL_SECS = 0.3
"""The interval in which all sandboxes of a region share one describe."""


@pytest.mark.timeout(600)
async def test_many_at_once_come_up_and_go(tmp_path: Path, full: bool) -> None:
    count = 50 if full else 12
    async with server(tmp_path) as here:
        answers: list[float] = []
        watching = asyncio.create_task(watch(here, answers))
        began = time.monotonic()
        async with here.client() as client:
            spec = SandboxSpec(agent_provider="command")
            made = await asyncio.gather(*(client.create_sandbox(spec) for _ in range(count)))
            ended = await asyncio.gather(*(client.wait_until(one.id) for one in made))
        took = time.monotonic() - began
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert [one.state for one in ended] == [State.RUNNING] * count
        assert len(await here.machines()) == count
        calls = (await region_of(here).calls())["counts"]["us-east-1"]
        print(f"{count} sandboxes running after {took:.1f} s; calls: {calls}")
        print(
            f"GET /health, {len(answers)} times: median {statistics.median(answers) * 1000:.0f} ms,", end=" "
        )
        print(f"p99 {statistics.quantiles(answers, n=100)[98] * 1000:.0f} ms")
        # one more for the test's own look at the machines, one for an interval that had just begun
        assert calls["DescribeInstances"] <= took / POLL_SECS + 2
        assert calls["RunInstances"] == count
        assert here.end() == 0, here.output()[-2000:]
        assert "everything was taken down" in here.output()
        here.start()
        assert not await here.machines()


async def watch(here: RunningServer, answers: list[float]) -> None:
    """Ask how the server is, over and over, and note how long each answer takes."""
    async with httpx.AsyncClient(base_url=here.url, trust_env=False, timeout=30) as http:
        while True:
            began = time.monotonic()
            assert (await http.get("/health")).status_code == 200
            answers.append(time.monotonic() - began)
            await asyncio.sleep(0.02)
