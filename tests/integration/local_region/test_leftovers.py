"""Volumes, network interfaces and tags: what goes with an instance, what stays, what can be deleted."""

from typing import Any

from tests.integration.local_region.ask import Launch, refused, tagged, until

NO_VOLUME, NO_INTERFACE = "vol-0fedcba9876543210", "eni-0fedcba9876543210"


def by(**tags: str) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


async def volumes(ec2: Any, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ec2.describe_volumes(Filters=filters))["Volumes"]
    return found


async def interfaces(ec2: Any, filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = await ec2.describe_network_interfaces(Filters=filters)
    found: list[dict[str, Any]] = answer["NetworkInterfaces"]
    return found


def tags_of(resource: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags") or resource.get("TagSet") or []}


async def test_a_launchs_parts_are_found_by_tag_and_go_with_it(ec2: Any, launch: Launch) -> None:
    asked = await launch(TagSpecifications=tagged(owner="one", kind="whole"))
    await until(ec2, asked["InstanceId"], "running")
    (volume,) = await volumes(ec2, by(owner="one", kind="whole"))
    (interface,) = await interfaces(ec2, by(owner="one", kind="whole"))
    assert volume["State"] == "in-use"
    (attached,) = volume["Attachments"]
    assert (attached["InstanceId"], attached["State"], attached["DeleteOnTermination"]) == (
        asked["InstanceId"],
        "attached",
        True,
    )
    assert interface["Status"] == "in-use"
    assert interface["Attachment"]["InstanceId"] == asked["InstanceId"]
    assert interface["Attachment"]["DeleteOnTermination"] is True
    assert await refused(ec2.delete_volume(VolumeId=volume["VolumeId"])) == ("VolumeInUse", 400)
    delete = ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    assert await refused(delete) == ("InvalidParameterValue", 400)
    assert await volumes(ec2, by(owner="two")) == []
    await ec2.terminate_instances(InstanceIds=[asked["InstanceId"]])
    await until(ec2, asked["InstanceId"], "terminated")
    assert await volumes(ec2, by(owner="one")) == []
    assert await interfaces(ec2, by(owner="one")) == []


async def test_a_volume_that_is_to_be_kept_stays_and_is_free(ec2: Any, launch: Launch) -> None:
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": False}}
    asked = await launch(BlockDeviceMappings=[disk], TagSpecifications=tagged(owner="kept"))
    await until(ec2, asked["InstanceId"], "running")
    await ec2.terminate_instances(InstanceIds=[asked["InstanceId"]])
    await until(ec2, asked["InstanceId"], "terminated")
    (volume,) = await volumes(ec2, [*by(owner="kept"), {"Name": "status", "Values": ["available"]}])
    assert volume["Attachments"] == []
    await ec2.delete_volume(VolumeId=volume["VolumeId"])
    assert await volumes(ec2, by(owner="kept")) == []


async def test_a_stray_volume_is_made_found_and_deleted(ec2: Any) -> None:
    stray = [{"ResourceType": "volume", "Tags": [{"Key": "owner", "Value": "stray"}]}]
    made = await ec2.create_volume(AvailabilityZone="us-east-1a", Size=9, TagSpecifications=stray)
    (found,) = await volumes(ec2, [*by(owner="stray"), {"Name": "status", "Values": ["available"]}])
    assert (found["VolumeId"], found["Size"], found["CreateTime"].tzinfo is not None) == (
        made["VolumeId"],
        9,
        True,
    )
    by_id = (await ec2.describe_volumes(VolumeIds=[made["VolumeId"]]))["Volumes"]
    assert tags_of(by_id[0]) == {"owner": "stray"}
    dry = ec2.delete_volume(VolumeId=made["VolumeId"], DryRun=True)
    assert await refused(dry) == ("DryRunOperation", 412)
    await ec2.delete_volume(VolumeId=made["VolumeId"])
    again = ec2.delete_volume(VolumeId=made["VolumeId"])
    assert await refused(again) == ("InvalidVolume.NotFound", 400)
    asked = ec2.describe_volumes(VolumeIds=[made["VolumeId"]])
    assert await refused(asked) == ("InvalidVolume.NotFound", 400)
    assert await refused(ec2.delete_volume(VolumeId="disk")) == ("InvalidParameterValue", 400)


async def test_a_stray_interface_is_made_found_and_deleted(ec2: Any) -> None:
    subnet = (await ec2.describe_subnets())["Subnets"][0]["SubnetId"]
    stray = [{"ResourceType": "network-interface", "Tags": [{"Key": "owner", "Value": "stray"}]}]
    made = (await ec2.create_network_interface(SubnetId=subnet, TagSpecifications=stray))["NetworkInterface"]
    ident = {"NetworkInterfaceId": made["NetworkInterfaceId"]}
    (found,) = await interfaces(ec2, [*by(owner="stray"), {"Name": "status", "Values": ["available"]}])
    assert found["NetworkInterfaceId"] == made["NetworkInterfaceId"]
    assert "Attachment" not in found
    by_id = await ec2.describe_network_interfaces(NetworkInterfaceIds=list(ident.values()))
    assert tags_of(by_id["NetworkInterfaces"][0]) == {"owner": "stray"}
    await ec2.delete_network_interface(**ident)
    missing = ("InvalidNetworkInterfaceID.NotFound", 400)
    assert await refused(ec2.delete_network_interface(**ident)) == missing
    asked = ec2.describe_network_interfaces(NetworkInterfaceIds=list(ident.values()))
    assert await refused(asked) == missing


async def test_tags_go_on_everything_and_off_again(ec2: Any, launch: Launch) -> None:
    asked = await launch(TagSpecifications=tagged(owner="all", other="x"))
    await until(ec2, asked["InstanceId"], "running")
    (volume,), (interface,) = await volumes(ec2, by(owner="all")), await interfaces(ec2, by(owner="all"))
    every = [asked["InstanceId"], volume["VolumeId"], interface["NetworkInterfaceId"]]
    await ec2.create_tags(Resources=every, Tags=[{"Key": "released", "Value": "1"}])
    await ec2.delete_tags(Resources=every, Tags=[{"Key": "owner"}, {"Key": "other", "Value": "y"}])
    (volume,) = await volumes(ec2, by(released="1"))
    (interface,) = await interfaces(ec2, by(released="1"))
    assert tags_of(volume) == tags_of(interface) == {"released": "1", "other": "x"}
    instance = (await ec2.describe_instances(InstanceIds=every[:1]))["Reservations"][0]["Instances"][0]
    assert tags_of(instance) == {"released": "1", "other": "x"}
    await ec2.delete_tags(Resources=every)
    assert await volumes(ec2, by(released="1")) == []


async def test_tags_of_what_does_not_exist(ec2: Any) -> None:
    for act, more in ((ec2.create_tags, {"Tags": [{"Key": "a", "Value": "b"}]}), (ec2.delete_tags, {})):
        for ident, code in (
            ("i-0fedcba9876543210", "InvalidInstanceID.NotFound"),
            (NO_VOLUME, "InvalidVolume.NotFound"),
            (NO_INTERFACE, "InvalidNetworkInterfaceID.NotFound"),
        ):
            assert await refused(act(Resources=[ident], **more)) == (code, 400)


async def test_more_than_fifty_tags_are_too_many(ec2: Any) -> None:
    volume = (await ec2.create_volume(AvailabilityZone="us-east-1a", Size=8))["VolumeId"]
    for first in (0, 25):
        some = [{"Key": f"k{n}", "Value": ""} for n in range(first, first + 25)]
        await ec2.create_tags(Resources=[volume], Tags=some)
    more = ec2.create_tags(Resources=[volume], Tags=[{"Key": "one", "Value": "more"}])
    assert await refused(more) == ("TagLimitExceeded", 400)
    await ec2.create_tags(Resources=[volume], Tags=[{"Key": "k0", "Value": "changed"}])


async def test_bad_volumes_are_refused(ec2: Any) -> None:
    nowhere = ec2.create_volume(AvailabilityZone="us-east-1z", Size=8)
    assert await refused(nowhere) == ("InvalidZone.NotFound", 400)
    assert await refused(ec2.create_volume(AvailabilityZone="us-east-1a")) == ("MissingParameter", 400)
    colour = [{"Name": "colour", "Values": ["red"]}]
    await ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)
    assert await refused(ec2.describe_volumes(Filters=colour)) == ("InvalidParameterValue", 400)
