"""The local region killed at random moments, over and over: what it has answered holds, and no more."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.integration.local_region.ask import every, launcher, ubuntu
from tests.integration.local_region.shell import refuses
from tests.region import RunningRegion, region


@pytest.mark.timeout(1800)
async def test_a_killed_region_keeps_its_word(tmp_path: Path, full: bool, seed: int) -> None:
    chance = random.Random(seed)
    launched: dict[str, str] = {}
    ended: set[str] = set()
    async with region(tmp_path / "region", faults={"visible_after": 0}) as here:
        for round_ in range(50 if full else 3):
            image = await ubuntu(here)
            work = asyncio.create_task(_work(here, image, f"{round_}", launched, ended))
            await asyncio.sleep(chance.uniform(0.2, 3))  # the moment is the experiment
            seen = await _addresses(here)
            here.kill()
            await work
            async with asyncio.timeout(10):
                while not all([await refuses(address) for address in seen]):
                    await asyncio.sleep(0.05)  # machines notice their parent's death
            here.start()
            await _holds(here, image, launched, ended)


async def _work(
    here: RunningRegion, image: str, name: str, launched: dict[str, str], ended: set[str]
) -> None:
    """Launch and terminate until the region is gone; note what it has answered."""
    try:
        async with here.client("ec2") as ec2:
            launch = launcher(ec2, image)
            for number in range(100):
                token = f"{name}-{number}"
                launched[token] = ""  # asked, not answered
                launched[token] = (await launch(ClientToken=token))["InstanceId"]
                if number % 2:
                    await ec2.terminate_instances(InstanceIds=[launched[token]])
                    ended.add(launched[token])
    except (BotoCoreError, ClientError):
        return


async def _addresses(here: RunningRegion) -> list[str]:
    try:
        async with here.client("ec2") as ec2:
            instances = await every(ec2)
    except (BotoCoreError, ClientError):
        return []
    return [i["PublicIpAddress"] for i in instances if "PublicIpAddress" in i]


async def _holds(here: RunningRegion, image: str, launched: dict[str, str], ended: set[str]) -> None:
    async with here.client("ec2") as ec2:
        instances: dict[str, Any] = {i["InstanceId"]: i for i in await every(ec2)}
        states = {ident: i["State"]["Name"] for ident, i in instances.items()}
        assert set(states.values()) <= {"stopped", "terminated"}
        assert {ident for ident in launched.values() if ident} <= states.keys()
        assert {states[ident] for ident in ended} <= {"terminated"}
        addresses = [i["PrivateIpAddress"] for i in instances.values() if i["State"]["Name"] == "stopped"]
        assert len(addresses) == len(set(addresses))
        disks = {path.name for path in (here.folder / "machines").iterdir()}
        assert disks <= {ident for ident, state in states.items() if state == "stopped"}
        launch = launcher(ec2, image)
        for token in [token for token, ident in launched.items() if not ident]:
            launched[token] = (await launch(ClientToken=token))["InstanceId"]
        assert len(set(launched.values())) == len(launched)
        assert {i["InstanceId"] for i in await every(ec2)} == set(launched.values())
