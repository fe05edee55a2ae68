"""How the tests of the local region ask it: launches, waits for a state, refusals."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

import pytest
from botocore.exceptions import ClientError

from tests.region import UBUNTU, USER_DATA, RunningRegion

Instance = dict[str, Any]


class Launch(Protocol):
    async def __call__(self, **more: Any) -> Instance: ...


def launcher(ec2: Any, image: str) -> Launch:
    """Launches one small machine; what is given is sent besides or instead."""

    async def launch(**more: Any) -> Instance:
        asked = {
            "ImageId": image,
            "InstanceType": "t3.medium",
            "MinCount": 1,
            "MaxCount": 1,
            "UserData": USER_DATA,
        }
        instance: Instance = (await ec2.run_instances(**(asked | more)))["Instances"][0]
        return instance

    return launch


async def ubuntu(here: RunningRegion) -> str:
    async with here.client("ssm") as ssm:
        return str((await ssm.get_parameter(Name=UBUNTU))["Parameter"]["Value"])


async def every(ec2: Any, **how: Any) -> list[Instance]:
    answer = await ec2.describe_instances(**how)
    return [instance for reservation in answer["Reservations"] for instance in reservation["Instances"]]


async def seen(ec2: Any, instance_id: str) -> Instance | None:
    found = await every(ec2, Filters=[{"Name": "instance-id", "Values": [instance_id]}])
    return found[0] if found else None


async def until(ec2: Any, instance_id: str, state: str) -> Instance:
    """The instance once it is in that state."""
    instance = None
    try:
        async with asyncio.timeout(30):
            while True:
                instance = await seen(ec2, instance_id)
                if instance and instance["State"]["Name"] == state:
                    return instance
                await asyncio.sleep(0.02)  # asking is the only way to learn it
    except TimeoutError:
        now = instance and (instance["State"]["Name"], instance.get("StateReason"))
        raise AssertionError(f"{instance_id} is not {state} but {now}") from None


async def refused(call: Awaitable[Any]) -> tuple[str, int]:
    """The error's code and HTTP status."""
    with pytest.raises(ClientError) as caught:
        await call
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def tagged(**tags: str) -> list[dict[str, Any]]:
    """TagSpecifications for everything that a launch makes."""
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": listed} for kind in ("instance", "volume", "network-interface")]
