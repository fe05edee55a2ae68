"""`spot` and `spot_max_price`: what is asked for, what is paid instead, and what is left when it is taken."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ciab.core.errors import InvalidState
from ciab.core.states import State
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, persistent, shell, spec
from tests.server import RunningServer, server

SETTINGS = config({"spot": True, "spot_max_price": "0.017"})


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, SETTINGS) as running:
        yield running


async def test_spot_sandboxes(here: RunningServer) -> None:
    async with here.client() as client, acting.ec2_of(here) as ec2:
        taken, idle, kept, dear = await acting.running(
            client,
            spec("taken"),
            spec("idle", idle_timeout_secs=2),
            persistent("kept"),
            spec("dear", {"spot": False}),
        )
        asked = {
            one["TagSpecification.1.Tag.1.Value"]: (
                one.get("InstanceMarketOptions.MarketType"),
                one.get("InstanceMarketOptions.SpotOptions.MaxPrice"),
            )
            for one in await acting.requests(here, "RunInstances")
        }
        on_spot, on_demand = ("spot", "0.017"), (None, None)
        names = ("ciab-taken", "ciab-idle", "ciab-kept", "ciab-dear")
        assert [asked[name] for name in names] == [on_spot, on_spot, on_demand, on_demand]
        assert [info.instance and info.instance.spot for info in (taken, idle, kept, dear)] == [
            *(True, True),
            *(False, False),
        ]
        assert taken.cost is not None and dear.cost is not None
        assert (taken.cost.usd_hour or 1) < (dear.cost.usd_hour or 0)

        # EC2 can neither stop nor start it
        for verb in (client.pause_sandbox, client.stop_sandbox):
            with pytest.raises(InvalidState, match="which EC2 cannot stop") as refused:
                await verb("taken")
            assert "--no-spot" in (refused.value.hint or "")
        assert (await client.get_sandbox("taken")).state is State.RUNNING
        assert "idle" in ((await becomes(client, "idle", State.TERMINATED)).reason or "")

        await interrupt(here, instance_of(taken))
        failed = await becomes(client, taken.id, State.FAILED)
        assert failed.failure is not None
        assert failed.failure.code == "spot_interrupted"
        assert instance_of(taken) in failed.failure.message
        assert "recover" in (failed.failure.hint or "")
        assert (await acting.states(ec2))[instance_of(taken)] in acting.OVER

        # without spot capacity the same on demand
        await acting.region_of(here).set_faults(capacity=[{"market": "spot"}])
        again = await client.recover_sandbox(taken.id)
        made = await becomes(client, again.id, State.RUNNING)
        assert (made.recovered_from, made.name) == (taken.id, "taken")
        assert made.instance is not None and not made.instance.spot
        assert await shell(client, "taken", "echo up") == "up"


async def interrupt(here: RunningServer, instance_id: str) -> None:
    """Take a spot instance back in a second."""
    async with httpx.AsyncClient(base_url=here.region()["endpoint"], trust_env=False) as http:
        answer = await http.post("/_ciab/interrupt", json={"instance": instance_id, "secs": 1})
        assert answer.status_code == 200, answer.text
