"""Each key of `[runtime.ec2]` that changes what a machine is: launch with it, and look at what there is.

Every test fails when its key is ignored, because what it asks for is not the default.
"""

import base64
from dataclasses import replace
from typing import Any

import asyncssh
import pytest

from ciab.core.errors import RuntimeRejected
from ciab.core.machine import Machine
from ciab.core.spec import Persistence, Spec
from tests.ec2 import Account, Configured, tags, wanting
from tests.region import REGION, RunningRegion


async def images(here: RunningRegion, owner: str, region: str = REGION) -> dict[str, str]:
    """Image ids by architecture, the oldest of each."""
    async with here.client("ec2", region) as client:
        found = (await client.describe_images(Owners=[owner]))["Images"]
    found.sort(key=lambda image: str(image["CreationDate"]), reverse=True)
    return {image["Architecture"]: image["ImageId"] for image in found}


async def volume(made: Account, machine: Machine) -> dict[str, Any]:
    instance = await made.instance(machine)
    ids = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
    (found,) = (await (await made.client(machine.region)).describe_volumes(VolumeIds=ids))["Volumes"]
    return dict(found)


async def user_data(made: Account, machine: Machine) -> str:
    client = await made.client(machine.region)
    found = await client.describe_instance_attribute(InstanceId=machine.id, Attribute="userData")
    return base64.b64decode(found["UserData"]["Value"]).decode()


async def test_the_contract_holds_for_every_launch(configured: Configured) -> None:
    async with configured() as made:
        machine = await made.launch(name="my-box")
        instance, disk = await made.instance(machine), await volume(made, machine)
        client = await made.client()
        behaviour = await client.describe_instance_attribute(
            InstanceId=machine.id, Attribute="instanceInitiatedShutdownBehavior"
        )
        pairs = (await client.describe_key_pairs())["KeyPairs"]
        found = await client.describe_network_interfaces(
            NetworkInterfaceIds=[instance["NetworkInterfaces"][0]["NetworkInterfaceId"]]
        )
    expected = {
        "ciab-sandbox-id": machine.sandbox_id,
        "ciab-managed": "true",
        "ciab-owner": "6b1d6f0e-5a7c-4d55-9a5f-0a51d0c0ffee",
        "Name": "ciab-my-box",
    }
    assert tags(instance["Tags"]) == expected
    assert tags(disk["Tags"]) == expected
    assert tags(found["NetworkInterfaces"][0]["TagSet"]) == expected
    assert instance["ClientToken"] == f"{machine.sandbox_id}-1"
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert disk["Encrypted"] is True
    assert instance["RootDeviceName"] == disk["Attachments"][0]["Device"]
    assert instance["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True
    assert len(instance["BlockDeviceMappings"]) == 1
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert pairs == []
    assert "KeyName" not in instance


async def test_a_persistent_machine_keeps_its_disk_when_it_is_shut_down_inside(
    configured: Configured,
) -> None:
    async with configured() as made:
        machine = await made.launch(Spec("command", persistence=Persistence.PERSISTENT))
        client = await made.client()
        behaviour = await client.describe_instance_attribute(
            InstanceId=machine.id, Attribute="instanceInitiatedShutdownBehavior"
        )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "stop"


async def test_default_ami(configured: Configured, here: RunningRegion) -> None:
    image = (await images(here, "amazon"))["x86_64"]
    async with configured(default_ami=image) as made:
        machine = await made.launch()
        instance, disk = await made.instance(machine), await volume(made, machine)
        own = (await images(here, "099720109477"))["x86_64"]
        assert (await made.launch(Spec("command", image=own))).image == own
        assert (await made.launch(wanting(ami=own))).image == own
    assert instance["ImageId"] == image
    assert disk["Attachments"][0]["Device"] == instance["RootDeviceName"] == "/dev/xvda"


async def test_instance_type_and_the_stock_image_for_its_architecture(
    configured: Configured, here: RunningRegion
) -> None:
    async with configured(instance_type="t4g.small") as made:
        order = await made.order()
        machine = await made.ec2.machines.launch(order, made.attempts)
        other = await made.launch(wanting(instance_type="m5.large"))
    assert machine.type == "t4g.small"
    assert order.image.architecture == "arm64"
    assert "ubuntu-jammy-22.04-arm64" in order.image.name
    assert other.type == "m5.large"
    async with here.client("ec2") as client:
        (found,) = (await client.describe_images(ImageIds=[order.image.id]))["Images"]
    assert found["OwnerId"] == "099720109477"


async def test_instance_types(configured: Configured, here: RunningRegion) -> None:
    await here.set_faults(capacity=[{"type": "t3.medium"}])
    async with configured(instance_types=["t3.large"]) as made:
        machine = await made.launch()
    await here.set_faults(capacity=[])
    assert machine.type == "t3.large"


@pytest.mark.parametrize(
    "profile", ["agents", "arn:aws:iam::123456789012:instance-profile/agents"], ids=["name", "arn"]
)
async def test_iam_instance_profile(configured: Configured, profile: str) -> None:
    async with configured(iam_instance_profile=profile) as made:
        instance = await made.instance(await made.launch())
    arn = instance["IamInstanceProfile"]["Arn"]
    assert arn.endswith(":instance-profile/agents")
    assert arn == profile or not profile.startswith("arn:")


@pytest.mark.parametrize(
    ("kind", "size", "iops"), [("io2", 77, 1234), ("gp2", 55, 0), ("gp3", 66, 4321)], ids=lambda value: value
)
async def test_root_volume(configured: Configured, kind: str, size: int, iops: int) -> None:
    async with configured(root_volume_type=kind, root_volume_size_gb=size, root_volume_iops=iops) as made:
        disk = await volume(made, await made.launch())
    assert (disk["VolumeType"], disk["Size"], disk["Encrypted"]) == (kind, size, True)
    assert not iops or disk["Iops"] == iops


async def test_tags(configured: Configured) -> None:
    async with configured(tags={"Team": "platform", "Environment": "development"}) as made:
        machine = await made.launch(wanting(tags={"Team": "frontend", "Größe": "ein Wert, mit = und :"}))
        instance, disk = await made.instance(machine), await volume(made, machine)
        client = await made.client()
        found = await client.describe_network_interfaces(
            NetworkInterfaceIds=[instance["NetworkInterfaces"][0]["NetworkInterfaceId"]]
        )
    for listed in (instance["Tags"], disk["Tags"], found["NetworkInterfaces"][0]["TagSet"]):
        shown = tags(listed)
        assert shown["Team"] == "frontend"
        assert shown["Environment"] == "development"
        assert shown["Größe"] == "ein Wert, mit = und :"
        assert shown["ciab-managed"] == "true"


async def test_spot_and_spot_max_price(configured: Configured, here: RunningRegion) -> None:
    async with configured(spot=True, spot_max_price="0.025") as made:
        cheap = await made.instance(await made.launch())
        kept = await made.instance(await made.launch(Spec("command", persistence=Persistence.PERSISTENT)))
        dear = await made.instance(await made.launch(wanting(spot=False)))
        asked = (await made.requests())[-3]["parameters"]
    assert cheap["InstanceLifecycle"] == "spot"
    assert asked["InstanceMarketOptions.SpotOptions.MaxPrice"] == "0.025"
    assert asked["InstanceMarketOptions.SpotOptions.SpotInstanceType"] == "one-time"
    assert "InstanceLifecycle" not in kept
    assert "InstanceLifecycle" not in dear


@pytest.mark.parametrize(
    "code", ["SpotMaxPriceTooLow", "MaxSpotInstanceCountExceeded", "InsufficientInstanceCapacity"]
)
async def test_no_spot_capacity_means_the_same_on_demand(
    configured: Configured, here: RunningRegion, code: str
) -> None:
    await here.set_faults(error=[{"action": "RunInstances", "code": code, "status": 400, "times": 2}])
    async with configured(spot=True, instance_types=["t3.large"]) as made:
        machine = await made.launch()
        sent = [call["parameters"] for call in (await made.requests())[-3:]]
        # what failed is not asked again for a while
        before = len(await made.requests())
        assert not (await made.launch()).spot
        assert len(await made.requests()) == before + 1
    assert (machine.type, machine.spot) == ("t3.medium", False)
    asked = [(one["InstanceType"], one.get("InstanceMarketOptions.MarketType")) for one in sent]
    assert asked == [("t3.medium", "spot"), ("t3.large", "spot"), ("t3.medium", None)]


async def test_key_pair_name(configured: Configured) -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    async with configured(key_pair_name="ops") as made:
        client = await made.client()
        public = key.export_public_key("openssh")
        await client.import_key_pair(KeyName="ops", PublicKeyMaterial=public)
        order = await made.order()
        assert order.site.login.key_pair == "ops"
        named = replace(order, keys=replace(order.keys, user=None), authorized_key=public.decode().strip())
        machine = await made.ec2.machines.launch(named, made.attempts)
        instance, text = await made.instance(machine), await user_data(made, machine)
        await client.delete_key_pair(KeyName="ops")
        with pytest.raises(RuntimeRejected, match="ops") as caught:
            await made.launch()
    assert instance["KeyName"] == "ops"
    assert public.decode().split()[1] in text
    assert "key_pair_name" in (caught.value.hint or "")


async def test_hibernate_on_pause(configured: Configured) -> None:
    async with configured(hibernate_on_pause=True) as made:
        instance = await made.instance(await made.launch())
    assert instance["HibernationOptions"] == {"Configured": True}


async def test_the_user_data_is_what_was_built(configured: Configured) -> None:
    async with configured(ssh_user="agent") as made:
        order = await made.order()
        text = await user_data(made, await made.ec2.machines.launch(order, made.attempts))
    assert text.startswith("#cloud-config\n")
    assert order.authorized_key.strip() in text
    assert order.keys.user
    assert order.keys.user.private.reveal() not in text
    assert '"name": "agent"' in text
