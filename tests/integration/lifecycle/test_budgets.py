"""`[budgets]` and `[runtime.ec2.prices]`: who is warned, stopped, or may not begin; and nobody else."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ciab.core.errors import BudgetExceeded
from ciab.core.sandbox import Held
from ciab.core.states import State
from ciab.schema.sandboxes import SandboxInfo
from ciab.sdk.client import Client
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, spec
from tests.server import RunningServer, server

DEAR, HALF = "t3.large", "m5.large"
EC2 = {"prices": {DEAR: 3600.0, HALF: 1800.0}, "idle_action": "stop", "stop_on_pause": False}
"""A dollar and half a dollar a second."""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    budgets = {"per_sandbox": 13.0, "per_workspace": 12.0}
    async with server(tmp_path, config(EC2, budgets=budgets)) as running:
        yield running


async def rests(client: Client, info: SandboxInfo, budget: str) -> None:
    """It is warned, then its machine is stopped, and it may not go on."""
    warning = await acting.warned(client, info.id, "budget_warning")
    assert budget in warning.data["message"]
    rested = await becomes(client, info.id, State.PAUSED)
    assert (rested.held, rested.failure) == (Held.STOPPED, None)
    assert budget in (rested.reason or "")
    with pytest.raises(BudgetExceeded, match=budget) as refused:
        await client.resume_sandbox(info.id)
    assert "[budgets]" in (refused.value.hint or "")
    assert (await client.get_sandbox(info.id)).state is State.PAUSED


async def on_one_day() -> None:
    """Wait where a new day of UTC would begin in the midst of the test, and its budget with it."""
    left = 86_400 - time.time() % 86_400
    if left < 60:
        await asyncio.sleep(left)


async def test_budgets(here: RunningServer) -> None:
    await on_one_day()
    async with here.client() as client, acting.ec2_of(here) as ec2:
        cheap, solo, one, two, mate, _ = infos = await acting.running(
            client,
            spec("cheap"),
            spec("solo", {"instance_type": DEAR}),
            spec("one", {"instance_type": HALF}, workspace="team"),
            spec("two", {"instance_type": HALF}, workspace="team"),
            spec("mate", workspace="team"),
            spec("idle", idle_timeout_secs=2),
        )
        assert solo.cost is not None and (solo.cost.usd_hour or 0) > 3600.0
        assert cheap.cost is not None and 0.0 < (cheap.cost.usd_hour or 0) < 0.1
        with pytest.raises(BudgetExceeded, match="no price is known"):
            await client.create_sandbox(spec("secret", {"instance_type": "g4dn.xlarge"}))

        assert "idle" in ((await becomes(client, "idle", State.STOPPED)).reason or "")
        await asyncio.gather(
            rests(client, solo, "per_sandbox of solo"),
            *(rests(client, info, "per_workspace of team") for info in (one, two, mate)),
        )
        states = await acting.states(ec2)
        assert [info.name for info in infos if states[instance_of(info)] == "running"] == ["cheap"]
        rest = (await client.get_sandbox("solo")).cost
        assert rest is not None and (rest.usd or 0) >= 13.0 and (rest.usd_hour or 0) < 0.1

        launches = await acting.count_of(here, "RunInstances")
        with pytest.raises(BudgetExceeded, match="per_workspace of team"):
            await client.create_sandbox(spec("third", workspace="team"))
        assert await acting.count_of(here, "RunInstances") == launches
        await acting.running(client, spec("other", {"instance_type": DEAR}, workspace="others"))

        # what has ended has been paid for
        for name in ("one", "two", "mate", "other"):
            await client.delete_sandbox(name)
        await becomes(client, two.id, State.TERMINATED)
        assert (await client.get_costs()).workspaces["team"] >= 12.0
        with pytest.raises(BudgetExceeded, match="per_workspace of team"):
            await client.create_sandbox(spec("third", workspace="team"))
        assert (await client.get_sandbox("cheap")).state is State.RUNNING

    here.end(signal.SIGUSR1)
    here.config = config(EC2, budgets={"per_day": 20.0})
    here.start()
    async with here.client() as client, acting.ec2_of(here) as ec2:
        assert (await client.get_costs()).today_usd > 20.0
        resting = await becomes(client, "cheap", State.PAUSED)
        assert "per_day" in (resting.reason or "")
        await acting.warned(client, "cheap", "budget_exceeded")
        await acting.reaches(ec2, instance_of(cheap), "stopped")
        with pytest.raises(BudgetExceeded, match="per_day") as refused:
            await client.create_sandbox(spec("tomorrow"))
        assert "wait for the next day" in (refused.value.hint or "")
        with pytest.raises(BudgetExceeded, match="per_day"):
            await client.start_sandbox("idle")
