"""What a health check asks: DryRun of everything, and the lists of what an account has."""

from collections.abc import Awaitable
from typing import Any

import pytest

from tests.integration.local_region.ask import Launch, every, refused, seen, until
from tests.region import RunningRegion

LOOKS = (
    *("instances", "volumes", "network_interfaces", "images", "instance_types", "subnets", "security_groups"),
    *("key_pairs", "account_attributes", "availability_zones", "regions", "tags", "vpcs"),
)
TAGS = {"Tags": [{"Key": "a", "Value": "b"}]}


def changes(ec2: Any, instance_id: str) -> dict[str, Awaitable[Any]]:
    """One DryRun of each action on that instance."""
    ids = {"InstanceIds": [instance_id], "DryRun": True}
    return {
        "StopInstances": ec2.stop_instances(**ids),
        "StartInstances": ec2.start_instances(**ids),
        "TerminateInstances": ec2.terminate_instances(**ids),
        "CreateTags": ec2.create_tags(Resources=[instance_id], DryRun=True, **TAGS),
        "DeleteTags": ec2.delete_tags(Resources=[instance_id], DryRun=True, **TAGS),
        "CreateVolume": ec2.create_volume(AvailabilityZone="us-east-1a", Size=8, DryRun=True),
    }


@pytest.mark.parametrize("what", LOOKS)
async def test_a_dry_look(here: RunningRegion, ec2: Any, what: str) -> None:
    look = getattr(ec2, f"describe_{what}")
    assert await refused(look(DryRun=True)) == ("DryRunOperation", 412)
    await here.set_faults(denied=["Describe*"])
    assert await refused(look(DryRun=True)) == ("UnauthorizedOperation", 403)
    assert await refused(look()) == ("UnauthorizedOperation", 403)


async def test_a_dry_change_changes_nothing(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    before = await until(ec2, instance_id, "running")
    for action, call in changes(ec2, instance_id).items():
        assert (action, await refused(call)) == (action, ("DryRunOperation", 412))
    assert await seen(ec2, instance_id) == before
    assert await refused(launch(DryRun=True)) == ("DryRunOperation", 412)
    assert len(await every(ec2)) == 1
    denied = changes(ec2, instance_id)
    await here.set_faults(denied=[*denied])
    for action, call in denied.items():
        assert (action, await refused(call)) == (action, ("UnauthorizedOperation", 403))
    assert (await refused(launch(DryRun=True)))[0] == "DryRunOperation"


async def test_a_dry_change_finds_what_does_not_exist(ec2: Any) -> None:
    calls = changes(ec2, "i-0fedcba9876543210")
    assert (await refused(calls.pop("CreateVolume")))[0] == "DryRunOperation"
    for call in calls.values():
        assert await refused(call) == ("InvalidInstanceID.NotFound", 400)


async def test_what_the_account_has(ec2: Any) -> None:
    groups = (await ec2.describe_security_groups())["SecurityGroups"]
    assert [group["GroupName"] for group in groups] == ["default"]
    assert await refused(ec2.describe_security_groups(GroupIds=["sg-0fedcba9876543210"])) == (
        "InvalidGroup.NotFound",
        400,
    )
    subnet = "subnet-0fedcba9876543210"
    assert await refused(ec2.describe_subnets(SubnetIds=[subnet])) == ("InvalidSubnetID.NotFound", 400)
    attributes = (await ec2.describe_account_attributes())["AccountAttributes"]
    assert "max-instances" in {attribute["AttributeName"] for attribute in attributes}


async def test_calls_are_counted_by_action(here: RunningRegion, ec2: Any) -> None:
    before = (await here.calls())["counts"]["us-east-1"].get("DescribeSubnets", 0)
    await here.set_faults(throttle=[{"action": "DescribeSubnets", "times": 1}])
    assert await refused(ec2.describe_subnets()) == ("RequestLimitExceeded", 503)
    await ec2.describe_subnets()
    assert (await here.calls())["counts"]["us-east-1"]["DescribeSubnets"] == before + 2
