"""The region's API as an AWS client sees it: images, types, launches, pages, tags."""

import asyncio
from typing import Any

from tests.integration.local_region.ask import Launch, every, refused, seen, tagged, until
from tests.region import UBUNTU, RunningRegion


async def test_a_launch_is_described_as_it_was_asked(ec2: Any, launch: Launch) -> None:
    subnet = (await ec2.describe_subnets())["Subnets"][1]
    disk = {"VolumeSize": 30, "VolumeType": "gp3", "Iops": 4000, "Encrypted": True}
    asked = await launch(
        NetworkInterfaces=[
            {"DeviceIndex": 0, "SubnetId": subnet["SubnetId"], "AssociatePublicIpAddress": True}
        ],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": disk}],
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        IamInstanceProfile={"Name": "sandbox"},
        TagSpecifications=tagged(Name="ciab-one"),
    )
    assert asked["State"]["Name"] == "pending"
    assert "PublicIpAddress" not in asked
    instance = await until(ec2, asked["InstanceId"], "running")
    assert instance["Placement"]["AvailabilityZone"] == subnet["AvailabilityZone"]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["IamInstanceProfile"]["Arn"].endswith(":instance-profile/sandbox")
    assert instance["Tags"] == [{"Key": "Name", "Value": "ciab-one"}]
    assert instance["PrivateIpAddress"] == asked["PrivateIpAddress"]
    assert instance["PublicIpAddress"].startswith("127.")
    mine = [{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}]
    volume = (await ec2.describe_volumes(Filters=mine))["Volumes"][0]
    assert {key: volume[key] for key in ("Size", "VolumeType", "Iops", "Encrypted")} == {
        "Size": 30,
        "VolumeType": "gp3",
        "Iops": 4000,
        "Encrypted": True,
    }
    assert volume["Tags"] == [{"Key": "Name", "Value": "ciab-one"}]
    interface = (await ec2.describe_network_interfaces(Filters=mine))["NetworkInterfaces"][0]
    assert interface["TagSet"] == [{"Key": "Name", "Value": "ciab-one"}]
    assert interface["PrivateIpAddress"] == instance["PrivateIpAddress"]
    assert interface["Association"]["PublicIp"] == instance["PublicIpAddress"]


async def test_without_a_public_address_there_is_none(ec2: Any, launch: Launch) -> None:
    asked = await launch(NetworkInterfaces=[{"DeviceIndex": 0, "AssociatePublicIpAddress": False}])
    instance = await until(ec2, asked["InstanceId"], "running")
    assert "PublicIpAddress" not in instance
    assert "Association" not in instance["NetworkInterfaces"][0]


async def test_the_root_device_is_the_images_own(ec2: Any, launch: Launch) -> None:
    images = (await ec2.describe_images(Owners=["amazon"]))["Images"]
    amazon = next(image for image in images if image["Architecture"] == "x86_64")
    asked = await launch(ImageId=amazon["ImageId"])
    assert asked["RootDeviceName"] == "/dev/xvda"
    assert [disk["DeviceName"] for disk in asked["BlockDeviceMappings"]] == ["/dev/xvda"]


async def test_the_owner_tells_canonical_from_a_look_alike(ec2: Any, image: str) -> None:
    name = [{"Name": "name", "Values": ["ubuntu/images/hvm-ssd*/ubuntu-jammy-22.04-amd64-server-*"]}]
    by_name = (await ec2.describe_images(Filters=name))["Images"]
    by_owner = (await ec2.describe_images(Filters=name, Owners=["099720109477"]))["Images"]
    assert len(by_name) == 3
    newest = max(by_name, key=lambda found: str(found["CreationDate"]))
    assert newest["OwnerId"] != "099720109477"
    assert max(by_owner, key=lambda found: str(found["CreationDate"]))["ImageId"] == image


async def test_every_type_says_its_architecture(ec2: Any) -> None:
    types = (await ec2.describe_instance_types(InstanceTypes=["t3.medium", "t4g.medium"]))["InstanceTypes"]
    found = {t["InstanceType"]: t["ProcessorInfo"]["SupportedArchitectures"] for t in types}
    assert found == {"t3.medium": ["x86_64"], "t4g.medium": ["arm64"]}
    assert await refused(ec2.describe_instance_types(InstanceTypes=["t9.big"])) == (
        "InvalidInstanceType",
        400,
    )


async def test_image_ids_differ_between_regions(here: RunningRegion, image: str) -> None:
    async with here.client("ec2", "eu-west-1") as ireland:
        assert await refused(ireland.describe_images(ImageIds=[image])) == ("InvalidAMIID.NotFound", 400)
        assert (await ireland.describe_subnets())["Subnets"][0]["AvailabilityZone"].startswith("eu-west-1")


async def test_describing_by_filter_and_in_pages(ec2: Any, launch: Launch) -> None:
    ids = {(await launch(TagSpecifications=tagged(group="pages", n=str(n))))["InstanceId"] for n in range(6)}
    for instance_id in ids:
        await until(ec2, instance_id, "running")
    group = [{"Name": "tag:group", "Values": ["pages"]}]
    first = await ec2.describe_instances(Filters=group, MaxResults=5)
    second = await ec2.describe_instances(Filters=group, MaxResults=5, NextToken=first["NextToken"])
    assert "NextToken" not in second
    found = [
        i["InstanceId"] for page in (first, second) for r in page["Reservations"] for i in r["Instances"]
    ]
    assert sorted(found) == sorted(ids)
    both = [*group, {"Name": "tag:n", "Values": ["1", "3"]}]
    assert len(await every(ec2, Filters=both)) == 2
    running = [*group, {"Name": "instance-state-name", "Values": ["stopped"]}]
    assert await every(ec2, Filters=running) == []


async def test_tags_are_added_and_taken(ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    await ec2.create_tags(
        Resources=[instance_id], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    )
    await ec2.delete_tags(Resources=[instance_id], Tags=[{"Key": "a"}])
    instance = await seen(ec2, instance_id)
    assert instance is not None
    assert instance["Tags"] == [{"Key": "b", "Value": "2"}]


async def test_the_caller_has_an_account(here: RunningRegion) -> None:
    async with here.client("sts") as sts:
        assert (await sts.get_caller_identity())["Account"] == "000000000000"


async def test_an_unknown_parameter_is_not_found(here: RunningRegion) -> None:
    async with here.client("ssm") as ssm:
        assert await refused(ssm.get_parameter(Name="/nothing/here")) == ("ParameterNotFound", 400)


async def test_several_parameters_at_once(here: RunningRegion, image: str) -> None:
    async with here.client("ssm") as ssm:
        answer = await ssm.get_parameters(Names=[UBUNTU, "/nothing/here"])
    assert [parameter["Value"] for parameter in answer["Parameters"]] == [image]
    assert answer["InvalidParameters"] == ["/nothing/here"]


async def test_a_region_that_does_not_exist(here: RunningRegion) -> None:
    async with here.client("ec2", "mars-north-1") as mars:
        assert await refused(mars.describe_instances()) == ("AuthFailure", 401)


async def test_permissions_of_the_other_services(here: RunningRegion) -> None:
    await here.set_faults(denied=["GetParameter", "GetCallerIdentity"])
    async with here.client("ssm") as ssm, here.client("sts") as sts:
        assert (await refused(ssm.get_parameter(Name=UBUNTU)))[0] == "AccessDeniedException"
        assert await refused(sts.get_caller_identity()) == ("AccessDenied", 403)


async def test_the_record_of_calls_has_no_user_data(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await launch(UserData="#cloud-config\n# kept-to-ourselves\n")
    shown = await here.calls()
    assert shown["counts"]["us-east-1"]["RunInstances"] >= 1
    assert shown["last"][-1]["action"] == "RunInstances"
    assert shown["last"][-1]["parameters"]["UserData"] == "***"


async def test_a_region_that_several_ask_at_once_for_the_first_time_has_one_state(
    here: RunningRegion,
) -> None:
    async with here.client("ec2", "eu-north-1") as ec2:
        await asyncio.gather(*(ec2.describe_instances() for _ in range(8)))
        volume = await ec2.create_volume(AvailabilityZone="eu-north-1a", Size=1)
        await ec2.delete_volume(VolumeId=volume["VolumeId"])
        assert (await ec2.describe_volumes())["Volumes"] == []
