"""kill -9 at random moments: afterwards one machine per sandbox that lives, none for every other.

Each round asks for sandboxes and for the end of one, kills the server (in one trouble the local region too)
somewhere in the middle of it, starts it again and lets everything come to rest. The seed is printed, so that
a round that failed can be run again: `--seed N`.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ciab.core.errors import CiabError
from ciab.core.states import MOVING, State
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.region import RunningRegion
from tests.server import RunningServer, server

FREE = ("shutting-down", "terminated")
SPEC = SandboxSpec(agent_provider="command")
SPAN = 1.6
"""Seconds in which the kill falls: a creation on the local region takes a little less."""

LIVING = 4
"""How many sandboxes may stay alive over the rounds."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What else goes wrong: faults of the region, set anew for each round, or its own death."""

    faults: Mapping[str, Any] = field(default_factory=dict)
    region_dies: bool = False


TROUBLES = {
    "nothing_else": Trouble(),
    "answers_lost": Trouble(
        {"lose": [{"action": "RunInstances", "times": 2}, {"action": "TerminateInstances", "times": 1}]}
    ),
    "throttled": Trouble({"throttle": [{"action": "*Instances", "times": 6}]}),
    "late_visibility": Trouble({"visible_after": 2.0}),
    "region_dies": Trouble(region_dies=True),
}


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", TROUBLES)
async def test_kill_9_leaves_one_machine_per_living_sandbox(
    name: str, tmp_path: Path, full: bool, seed: int
) -> None:
    trouble = TROUBLES[name]
    chance = random.Random(f"{seed}-{name}")
    async with server(tmp_path) as here:
        for number in range(rounds(name, full)):
            await one_round(here, trouble, chance)
            await hold_to_account(here, f"trouble {name}, seed {seed}, round {number}")
        assert here.end() == 0, here.output()[-2000:]
        here.start()
        await hold_to_account(here, "after the orderly end")
        assert not await here.machines()


def rounds(name: str, full: bool) -> int:
    """Fifty kills of the server alone, and a fair number in each other trouble; a few as a sample."""
    if not full:
        return 3
    return 50 if name == "nothing_else" else 15


async def one_round(here: RunningServer, trouble: Trouble, chance: random.Random) -> None:
    region = region_of(here)
    if trouble.faults:
        await region.set_faults(**trouble.faults)
    async with here.client() as client:
        living = [one for one in await client.list_sandboxes() if one.state is State.RUNNING]
        asked = asyncio.create_task(ask(client, living[: max(1, len(living) - LIVING + 2)], chance))
        await asyncio.sleep(chance.uniform(0.0, SPAN))
        if trouble.region_dies and chance.random() < 0.7:
            os.kill(here.region()["pid"], signal.SIGKILL)
            await asyncio.sleep(chance.uniform(0.0, 0.3))
        here.kill()
        await asked
    here.start()


async def ask(client: Client, victims: list[SandboxInfo], chance: random.Random) -> None:
    """Two creations and some deletes, one of them of a sandbox that is only coming up."""
    try:
        first = await client.create_sandbox(SPEC)
        await client.create_sandbox(SPEC)
        for victim in victims:
            await client.delete_sandbox(victim.id)
        await asyncio.sleep(chance.uniform(0.0, SPAN))
        if chance.random() < 0.3:
            await client.delete_sandbox(first.id)
    except CiabError:
        return  # the server was killed meanwhile; what it took down counts, the rest was never promised


async def hold_to_account(here: RunningServer, when: str) -> None:
    """Wait until nothing moves, then compare the database's story with the region's."""
    async with here.client() as client:
        async with asyncio.timeout(120):
            while [one for one in await everything(client) if one.state in MOVING]:
                await asyncio.sleep(0.1)
        sandboxes = {one.id: one for one in await everything(client)}
    ever = await instances(here)
    billable = Counter(sandbox for sandbox, state in ever if state not in FREE)
    for sandbox_id, info in sandboxes.items():
        expected = 1 if info.state is State.RUNNING else 0
        assert billable[sandbox_id] == expected, (when, info, ever)
        if info.state is State.RUNNING:
            launched = [state for owner, state in ever if owner == sandbox_id]
            assert len(launched) == 1, f"{when}: {info.name} was launched {len(launched)} times"
    assert not set(billable) - set(sandboxes), f"{when}: machines of sandboxes that nobody knows"


async def everything(client: Client) -> list[SandboxInfo]:
    found: list[SandboxInfo] = []
    while page := await client.list_sandboxes(limit=100, cursor=found[-1].id if found else None):
        found += page
    return found


async def instances(here: RunningServer) -> list[tuple[str, str]]:
    """Sandbox id and state of every instance that the region still shows, the terminated ones too."""
    async with region_of(here).client("ec2", attempts=10) as ec2:
        found = [page async for page in ec2.get_paginator("describe_instances").paginate()]
    shown = [
        one for page in found for reservation in page["Reservations"] for one in reservation["Instances"]
    ]
    return [(tag(one), one["State"]["Name"]) for one in shown]


def tag(instance: Mapping[str, Any]) -> str:
    return str({tag["Key"]: tag["Value"] for tag in instance["Tags"]}["ciab-sandbox-id"])


def region_of(here: RunningServer) -> RunningRegion:
    return RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])
