"""What the region refuses, with AWS's codes, and that it then has changed nothing."""

import base64
from typing import Any

import pytest

from tests.integration.local_region.ask import Launch, every, refused
from tests.region import RunningRegion

ROOT = "/dev/sda1"


def root(**ebs: Any) -> dict[str, Any]:
    return {"BlockDeviceMappings": [{"DeviceName": ROOT, "Ebs": ebs}]}


def tags(listed: list[dict[str, str]], kind: str = "instance") -> dict[str, Any]:
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": listed}]}


BAD_LAUNCHES: dict[str, tuple[dict[str, Any], str]] = {
    "an image that does not exist": ({"ImageId": "ami-0fedcba9876543210"}, "InvalidAMIID.NotFound"),
    "an image id that is none": ({"ImageId": "ami-nonsense"}, "InvalidAMIID.Malformed"),
    "an unknown type": ({"InstanceType": "t9.huge"}, "InvalidParameterValue"),
    "a type of another architecture": ({"InstanceType": "t4g.medium"}, "InvalidParameterValue"),
    "a subnet that does not exist": ({"SubnetId": "subnet-0fedcba9876543210"}, "InvalidSubnetID.NotFound"),
    "a subnet id that is none": ({"SubnetId": "nowhere"}, "InvalidSubnetID.Malformed"),
    "a group that does not exist": ({"SecurityGroupIds": ["sg-0fedcba9876543210"]}, "InvalidGroup.NotFound"),
    "a group id that is none": ({"SecurityGroupIds": ["web"]}, "InvalidGroupId.Malformed"),
    "a zone that does not exist": (
        {"Placement": {"AvailabilityZone": "us-east-1z"}},
        "InvalidParameterValue",
    ),
    "a key pair that does not exist": ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
    "a profile of bad form": ({"IamInstanceProfile": {"Name": "a b"}}, "InvalidParameterValue"),
    "an ARN of bad form": ({"IamInstanceProfile": {"Arn": "arn:aws:iam::1:role/x"}}, "InvalidParameterValue"),
    "user-data over 16 KB": ({"UserData": "#" * 16385}, "InvalidParameterValue"),
    "io2 without IOPS": (root(VolumeType="io2", VolumeSize=30), "MissingParameter"),
    "gp2 with IOPS": (root(VolumeType="gp2", VolumeSize=30, Iops=3000), "InvalidParameterCombination"),
    "gp3 with too many IOPS": (root(VolumeType="gp3", VolumeSize=100, Iops=20000), "InvalidParameterValue"),
    "too many IOPS for the size": (
        root(VolumeType="io1", VolumeSize=8, Iops=6400),
        "InvalidParameterCombination",
    ),
    "a disk smaller than the image": (root(VolumeSize=4), "InvalidBlockDeviceMapping"),
    "an unknown disk type": (root(VolumeType="gp9", VolumeSize=30), "InvalidParameterValue"),
    "51 tags": (tags([{"Key": f"k{n}", "Value": ""} for n in range(51)]), "TagLimitExceeded"),
    "a reserved tag": (tags([{"Key": "AWS:mine", "Value": ""}], "volume"), "InvalidParameterValue"),
    "a tag key too long": (tags([{"Key": "k" * 128, "Value": ""}]), "InvalidParameterValue"),
    "a tag value too long": (tags([{"Key": "k", "Value": "v" * 257}]), "InvalidParameterValue"),
    "a tag twice": (tags([{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]), "InvalidParameterValue"),
    "tags on something else": (tags([{"Key": "k", "Value": "1"}], "subnet"), "InvalidParameterValue"),
    "a hop limit of 0": ({"MetadataOptions": {"HttpPutResponseHopLimit": 0}}, "InvalidParameterValue"),
    "a strange shutdown behaviour": (
        {"InstanceInitiatedShutdownBehavior": "explode"},
        "InvalidParameterValue",
    ),
    "a subnet beside an interface": (
        {"SubnetId": "subnet-0fedcba9876543210", "NetworkInterfaces": [{"DeviceIndex": 0}]},
        "InvalidParameterCombination",
    ),
    "groups beside an interface": (
        {"SecurityGroupIds": ["sg-0fedcba9876543210"], "NetworkInterfaces": [{"DeviceIndex": 0}]},
        "InvalidParameterCombination",
    ),
    "a token too long": ({"ClientToken": "t" * 65}, "InvalidParameterValue"),
}


@pytest.mark.parametrize("name", BAD_LAUNCHES)
async def test_a_bad_launch_is_refused_and_launches_nothing(ec2: Any, launch: Launch, name: str) -> None:
    parameters, code = BAD_LAUNCHES[name]
    assert await refused(launch(**parameters)) == (code, 400)
    assert await every(ec2) == []
    assert (await ec2.describe_volumes())["Volumes"] == []
    assert (await ec2.describe_network_interfaces())["NetworkInterfaces"] == []


async def test_exactly_16_kb_of_user_data_and_50_tags_are_accepted(ec2: Any, launch: Launch) -> None:
    listed = [{"Key": f"k{n}", "Value": "v"} for n in range(50)]
    comment = "#cloud-config\n#"
    assert await refused(
        launch(UserData=comment + "x" * (16384 - len(comment)), **tags(listed), DryRun=True)
    ) == ("DryRunOperation", 412)


async def test_dry_run_finds_faults_and_does_nothing(ec2: Any, launch: Launch) -> None:
    assert await refused(launch(DryRun=True)) == ("DryRunOperation", 412)
    assert await refused(launch(DryRun=True, ImageId="ami-0fedcba9876543210")) == (
        "InvalidAMIID.NotFound",
        400,
    )
    assert await every(ec2) == []


async def test_a_missing_permission_is_told_even_to_a_dry_run(here: RunningRegion, launch: Launch) -> None:
    await here.set_faults(denied=["RunInstances"])
    assert await refused(launch(DryRun=True)) == ("UnauthorizedOperation", 403)


async def test_a_profile_that_does_not_exist(here: RunningRegion, launch: Launch) -> None:
    await here.set_faults(missing_profiles=["absent"])
    assert await refused(launch(IamInstanceProfile={"Name": "absent"})) == ("InvalidParameterValue", 400)
    arn = "arn:aws:iam::000000000000:instance-profile/absent"
    assert await refused(launch(IamInstanceProfile={"Arn": arn})) == ("InvalidParameterValue", 400)


async def test_base64_that_is_none_is_refused(here: RunningRegion, ec2: Any, image: str) -> None:
    def spoil(params: dict[str, Any], **_: Any) -> None:
        params["body"]["UserData"] = base64.b64encode(b"#cloud-config").decode() + "%"

    ec2.meta.events.register("before-call.ec2.RunInstances", spoil)
    call = ec2.run_instances(ImageId=image, InstanceType="t3.medium", MinCount=1, MaxCount=1)
    assert (await refused(call))[0] == "InvalidParameterValue"


@pytest.mark.parametrize("verb", ["start", "stop", "terminate", "reboot"])
async def test_one_unknown_id_fails_the_whole_call(ec2: Any, verb: str) -> None:
    act = getattr(ec2, f"{verb}_instances")
    assert await refused(act(InstanceIds=["i-0fedcba9876543210"])) == ("InvalidInstanceID.NotFound", 400)
    assert await refused(act(InstanceIds=["box"])) == ("InvalidInstanceID.Malformed", 400)


async def test_an_unknown_filter_is_refused(ec2: Any) -> None:
    call = ec2.describe_instances(Filters=[{"Name": "colour", "Values": ["red"]}])
    assert await refused(call) == ("InvalidParameterValue", 400)
