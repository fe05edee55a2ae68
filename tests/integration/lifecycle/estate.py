"""A region that two installations share, and things in it that carry, or do not carry, one's tags."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ec2 import tags
from tests.integration.lifecycle.acting import OVER, config
from tests.integration.local_region.ask import every, tagged
from tests.region import RunningRegion
from tests.server import RunningServer, server

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIALOCALREGION00000", "AWS_SECRET_ACCESS_KEY": "any"}


@asynccontextmanager
async def installation(
    folder: Path, region: RunningRegion, **tables: Mapping[str, Any]
) -> AsyncIterator[RunningServer]:
    """A server with `backend = "ec2"` and this region for AWS."""
    settings = config({"endpoint_url": region.endpoint, "ssh_port": 2222}, **tables)
    settings["runtime"]["backend"] = "ec2"
    async with server(folder, settings, environment=CREDENTIALS) as running:
        yield running


async def instances(region: RunningRegion, aws_region: str = "us-east-1") -> dict[str, dict[str, Any]]:
    """Those that may cost something, by their ids."""
    async with region.client("ec2", aws_region) as ec2:
        return {one["InstanceId"]: one for one in await every(ec2) if one["State"]["Name"] not in OVER}


async def owner_of(region: RunningRegion, sandbox_id: str) -> str:
    """The installation that a sandbox belongs to, as its instance says."""
    for one in (await instances(region)).values():
        worn = tags(one["Tags"])
        if worn.get("ciab-sandbox-id") == sandbox_id:
            return worn["ciab-owner"]
    raise AssertionError(f"{sandbox_id} has no instance")


@dataclass
class Estate:
    """Things that are made by hand, each list under a name. Their instances are to stay `pending` for ever:
    what cannot boot costs this computer nothing."""

    clients: Mapping[str, Any]
    """Of EC2, by region."""
    made: dict[str, list[str]] = field(default_factory=dict)

    async def machines(self, name: str, count: int, aws_region: str = "us-east-1", **worn: str) -> None:
        """So many instances with these tags."""
        ec2 = self.clients[aws_region]
        specs = {"TagSpecifications": tagged(**_spelled(worn))} if worn else {}
        image = await _stock(ec2)
        answer = await ec2.run_instances(
            ImageId=image, InstanceType="t3.medium", MinCount=count, MaxCount=count, **specs
        )
        self.made[name] = [one["InstanceId"] for one in answer["Instances"]]

    async def volume(self, name: str, **worn: str) -> None:
        """A volume that is attached to nothing."""
        listed = _listed(worn)
        made = await self.clients["us-east-1"].create_volume(
            AvailabilityZone="us-east-1a",
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": listed}],
        )
        self.made[name] = [made["VolumeId"]]

    async def interface(self, name: str, **worn: str) -> None:
        """A network interface that is attached to nothing."""
        ec2 = self.clients["us-east-1"]
        subnet = (await ec2.describe_subnets())["Subnets"][0]["SubnetId"]
        made = (await ec2.create_network_interface(SubnetId=subnet))["NetworkInterface"]
        self.made[name] = [made["NetworkInterfaceId"]]
        await ec2.create_tags(Resources=self.made[name], Tags=_listed(worn))

    async def left(self) -> dict[str, int]:
        """How many of each are still there; what is gone altogether is not named."""
        there: set[str] = set()
        for ec2 in self.clients.values():
            there |= {one["InstanceId"] for one in await every(ec2) if one["State"]["Name"] not in OVER}
            there |= {one["VolumeId"] for one in (await ec2.describe_volumes())["Volumes"]}
            found = (await ec2.describe_network_interfaces())["NetworkInterfaces"]
            there |= {one["NetworkInterfaceId"] for one in found}
        counted = {name: len(there & set(ids)) for name, ids in self.made.items()}
        return {name: count for name, count in counted.items() if count}


@asynccontextmanager
async def estate_in(region: RunningRegion, *regions: str) -> AsyncIterator[Estate]:
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(region.client("ec2", name))
            for name in ("us-east-1", *regions)
        }
        yield Estate(clients)


async def _stock(ec2: Any) -> str:
    """An image that t3.medium boots from."""
    fitting = [{"Name": "architecture", "Values": ["x86_64"]}]
    found = await ec2.describe_images(Owners=["099720109477"], Filters=fitting)
    return str(found["Images"][0]["ImageId"])


def _spelled(worn: Mapping[str, str]) -> dict[str, str]:
    """`sandbox_id` is the tag ciab-sandbox-id."""
    return {f"ciab-{key.replace('_', '-')}": value for key, value in worn.items()}


def _listed(worn: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in _spelled(worn).items()]
