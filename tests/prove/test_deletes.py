"""Deletes at any moment, also while the launch's answer is on its way, and ends that are cut off."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from ciab.core.states import ENDED, State
from ciab.schema.spec import SandboxSpec
from tests.prove.test_kill import SPAN, hold_to_account, region_of
from tests.server import server

SPEC = SandboxSpec(agent_provider="command")


@pytest.mark.timeout(1200)
async def test_a_delete_at_any_moment_leaves_no_machine(tmp_path: Path, full: bool, seed: int) -> None:
    chance = random.Random(seed)
    async with server(tmp_path) as here, here.client() as client:
        await region_of(here).set_faults(delay=[{"action": "RunInstances", "secs": 0.5, "when": "after"}])
        for number in range(40 if full else 5):
            made = [await client.create_sandbox(SPEC) for _ in range(2)]
            await asyncio.sleep(chance.uniform(0.0, SPAN + 0.5))
            # two at once are one
            await asyncio.gather(*(client.delete_sandbox(one.id) for one in [*made, *made]))
            for one in made:
                ended = await client.wait_until(one.id, ENDED)
                assert ended.state is State.TERMINATED, f"seed {seed}, round {number}: {ended.failure}"
            assert not await here.machines(), f"seed {seed}, round {number}"
        await hold_to_account(here, f"seed {seed}")


@pytest.mark.timeout(1200)
async def test_an_end_cut_off_by_kill_9_is_finished_by_the_next_start(
    tmp_path: Path, full: bool, seed: int
) -> None:
    chance = random.Random(seed)
    async with server(tmp_path) as here:
        for number in range(20 if full else 3):
            async with here.client() as client:
                made = [await client.create_sandbox(SPEC) for _ in range(3)]
                await client.wait_until(made[0].id)
            begun = [line for line in here.output().splitlines() if line.startswith("ending:")]
            os.kill(here.pid, signal.SIGTERM)
            while [line for line in here.output().splitlines() if line.startswith("ending:")] == begun:
                await asyncio.sleep(0.002)
            await asyncio.sleep(chance.uniform(0.0, 0.4))
            here.kill()
            here.start()
            async with here.client() as client:
                states = [(await client.wait_until(one.id, ENDED)).state for one in made]
            assert states == [State.TERMINATED] * 3, f"seed {seed}, round {number}"
            assert not await here.machines(), f"seed {seed}, round {number}"
