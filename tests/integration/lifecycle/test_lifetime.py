"""`max_lifetime_secs` and `timeout_secs`: who ends when, whatever it does, and although nobody was there."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ciab.core.errors import InvalidRequest
from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, persistent, spec
from tests.server import RunningServer, server

MOST_SECS = 10


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, config({"max_lifetime_secs": MOST_SECS})) as running:
        yield running


async def test_lifetimes(here: RunningServer) -> None:
    async with here.client() as client:
        with pytest.raises(InvalidRequest, match="lives 10 s at most") as refused:
            await client.create_sandbox(spec("old", timeout_secs=MOST_SECS + 1))
        assert "max_lifetime_secs" in (refused.value.hint or "")

        short, rested, kept, unlimited = infos = await acting.running(
            client,
            spec("short", timeout_secs=6),
            spec("rested"),
            persistent("kept"),
            spec("unlimited", timeout_secs=0),
        )
        ends = [info.expires_at for info in infos]
        for info, end, secs in zip(infos, ends, (6, MOST_SECS, MOST_SECS, MOST_SECS), strict=True):
            assert end is not None
            assert abs(end - info.created_at - timedelta(seconds=secs)) < timedelta(seconds=1)
        await client.pause_sandbox("rested")
        await becomes(client, "rested", State.PAUSED)
        # it is no excuse that it is used
        using = asyncio.create_task(client.exec("short", ExecRequest(command=["sleep", "60"])))
        ended = await becomes(client, short.id, State.TERMINATED)
        assert (ended.reason, ended.failure) == ("its lifetime of 6 s is over", None)
        await asyncio.wait([using], timeout=10)
        assert using.exception() is not None or using.result().exit_code != 0
        assert ended.updated_at >= (short.expires_at or ended.updated_at)

    here.kill()
    over = max(end for end in ends if end)
    await asyncio.sleep(max(0.0, (over - datetime.now(UTC)).total_seconds()))
    here.start()
    async with here.client() as client:
        for info in (rested, kept, unlimited):
            ended = await becomes(client, info.id, State.TERMINATED)
            assert ended.reason == "its lifetime of 10 s is over"
        assert await here.machines() == []
