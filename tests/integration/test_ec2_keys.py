"""Each key of `[runtime.ec2]` that changes what is launched: launch with it, and look at what there is.

Every test fails when its key is ignored, because what it asks for is not the default.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import asyncssh
import pytest
from tests.ec2 import OWNER, SPEC, Account, account, tags, wanting
from tests.region import REGION, RunningRegion

from ciab.adapters.ec2.connect import connect_ec2
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.machine import LaunchOrder, Machine, MachineState
from ciab.core.spec import Persistence, Spec

OTHER = "eu-west-1"


class Configured(Protocol):
    def __call__(self, **settings: Any) -> AbstractAsyncContextManager[Account]: ...


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegion]:
    """One region for all; every test takes its machines away again."""
    running = RunningRegion(tmp_path_factory.mktemp("keys") / "region", {"visible_after": 0})
    running.start()
    yield running
    running.end()


@pytest.fixture
def configured(here: RunningRegion) -> Configured:
    @asynccontextmanager
    async def made(**settings: Any) -> AsyncIterator[Account]:
        async with account(here, **settings) as opened:
            yield opened
            await opened.clean()

    return made


async def images(here: RunningRegion, owner: str, region: str = REGION) -> dict[str, str]:
    """Image ids by architecture, the oldest of each."""
    async with here.client("ec2", region) as client:
        found = (await client.describe_images(Owners=[owner]))["Images"]
    found.sort(key=lambda image: str(image["CreationDate"]), reverse=True)
    return {image["Architecture"]: image["ImageId"] for image in found}


async def subnets(here: RunningRegion, region: str = REGION) -> list[str]:
    """The default VPC's, last zone first: none of the first ones is what EC2 takes by itself."""
    async with here.client("ec2", region) as client:
        found = (await client.describe_subnets())["Subnets"]
    found.sort(key=lambda subnet: str(subnet["AvailabilityZone"]), reverse=True)
    return [subnet["SubnetId"] for subnet in found]


async def a_group(here: RunningRegion, name: str, region: str = REGION) -> str:
    async with here.client("ec2", region) as client:
        for group in (await client.describe_security_groups())["SecurityGroups"]:
            if group["GroupName"] == name:
                return str(group["GroupId"])
        vpc = (await client.describe_vpcs())["Vpcs"][0]["VpcId"]
        made = await client.create_security_group(GroupName=name, Description=name, VpcId=vpc)
        return str(made["GroupId"])


async def volume(made: Account, machine: Machine) -> dict[str, Any]:
    instance = await made.instance(machine)
    ids = [mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
    (found,) = (await (await made.client(machine.region)).describe_volumes(VolumeIds=ids))["Volumes"]
    return dict(found)


async def user_data(made: Account, machine: Machine) -> str:
    client = await made.client(machine.region)
    found = await client.describe_instance_attribute(InstanceId=machine.id, Attribute="userData")
    return base64.b64decode(found["UserData"]["Value"]).decode()


async def running(made: Account, machine: Machine, order: LaunchOrder) -> Machine:
    while True:
        seen = await made.ec2.machines.find(order.sandbox_id, order.site.place)
        if seen and seen.state is MachineState.RUNNING:
            return seen


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


async def test_region(configured: Configured) -> None:
    async with configured(region=OTHER) as made:
        machine = await made.launch()
        assert machine.zone.startswith(OTHER)
        assert not await made.instances(region=REGION)
        there = await made.launch(wanting(region=REGION))
        assert there.zone.startswith(REGION)


async def test_endpoint_url(here: RunningRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALOCALREGION00000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    settings = Ec2Settings(endpoint_url=here.endpoint)
    async with connect_ec2(settings, backend="ec2", owner=OWNER) as ec2:
        place = ec2.site_of(SPEC).place
        assert (place.backend, place.endpoint) == ("ec2", here.endpoint)
        assert place.account == ec2.account
        assert place.account.isdigit()
        assert await ec2.machines.owned(REGION) == []


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


async def test_subnet_id(configured: Configured, here: RunningRegion) -> None:
    last, middle, *_ = await subnets(here)
    async with configured(subnet_id=last) as made:
        assert (await made.instance(await made.launch()))["SubnetId"] == last
        assert (await made.instance(await made.launch(wanting(subnet_id=middle))))["SubnetId"] == middle


async def test_subnet_ids(configured: Configured, here: RunningRegion) -> None:
    last, middle, *_ = await subnets(here)
    await here.set_faults(capacity=[{"zone": "us-east-1f"}])
    async with configured(subnet_id=last, subnet_ids=[middle]) as made:
        instance = await made.instance(await made.launch())
    await here.set_faults(capacity=[])
    assert instance["SubnetId"] == middle


async def test_security_group_ids(configured: Configured, here: RunningRegion) -> None:
    group, other = await a_group(here, "agents"), await a_group(here, "others")
    async with configured(security_group_ids=[group]) as made:
        instance = await made.instance(await made.launch())
        wanted = await made.instance(await made.launch(wanting(security_group_ids=(other, group))))
    assert [found["GroupId"] for found in instance["SecurityGroups"]] == [group]
    assert {found["GroupId"] for found in wanted["SecurityGroups"]} == {group, other}


async def test_associate_public_ip_and_connect_address(configured: Configured) -> None:
    async with configured(associate_public_ip=False, connect_address="private") as made:
        order = await made.order()
        machine = await made.ec2.machines.launch(order, made.attempts)
        seen = await running(made, machine, order)
    assert order.site.login.address == "private"
    assert (seen.public_ip, seen.private_ip) == (None, machine.private_ip)
    async with configured() as made:
        order = await made.order()
        seen = await running(made, await made.ec2.machines.launch(order, made.attempts), order)
    assert order.site.login.address == "public"
    assert seen.public_ip


async def test_ssh_user_and_ssh_port_and_the_pinned_host_key(configured: Configured) -> None:
    async with configured(ssh_user="agent", ssh_port=2345) as made:
        order = await made.order()
        seen = await running(made, await made.ec2.machines.launch(order, made.attempts), order)
        login = order.site.login
        assert (login.user, login.port) == ("agent", 2345)
        async with await logged_in(order, seen) as connection:
            assert (await connection.run("echo ~", check=True)).stdout == "/home/agent\n"


async def logged_in(order: LaunchOrder, machine: Machine) -> asyncssh.SSHClientConnection:
    """As the pinned machine lets us in, and no other."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await asyncssh.connect(
                    machine.public_ip or "",
                    order.site.login.port,
                    username=order.site.login.user,
                    client_keys=[asyncssh.import_private_key(order.keys.user.private.reveal())],
                    known_hosts=([asyncssh.import_public_key(order.keys.host.public)], [], []),
                    config=None,
                    agent_path=None,
                )
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)  # its sshd has not started, and nothing tells when it has


async def test_ssh_port_of_another_backend(configured: Configured) -> None:
    async with configured() as made:
        assert made.ec2.site_of(SPEC).login.port == 2222
    async with configured(ssh_port=22) as made:
        assert made.ec2.site_of(SPEC).login.port == 22


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


async def test_regions(configured: Configured, here: RunningRegion) -> None:
    image = (await images(here, "amazon", OTHER))["x86_64"]
    subnet = (await subnets(here, OTHER))[0]
    group = await a_group(here, "agents", OTHER)
    own = {"default_ami": image, "subnet_id": subnet, "security_group_ids": [group]}
    async with configured(regions={OTHER: own}) as made:
        instance = await made.instance(await made.launch(wanting(region=OTHER)))
        home = await made.instance(await made.launch())
    assert (instance["ImageId"], instance["SubnetId"]) == (image, subnet)
    assert [found["GroupId"] for found in instance["SecurityGroups"]] == [group]
    assert home["ImageId"] != image


async def test_what_belongs_to_the_default_region_never_goes_to_another(
    configured: Configured, here: RunningRegion
) -> None:
    last, middle, *_ = await subnets(here)
    async with configured(
        default_ami=(await images(here, "amazon"))["x86_64"],
        subnet_id=last,
        subnet_ids=[middle],
        security_group_ids=[await a_group(here, "agents")],
    ) as made:
        instance = await made.instance(await made.launch(wanting(region=OTHER)))
    assert instance["SubnetId"] in await subnets(here, OTHER)
    async with here.client("ec2", OTHER) as client:
        (image,) = (await client.describe_images(ImageIds=[instance["ImageId"]]))["Images"]
    assert image["OwnerId"] == "099720109477"
    assert [group["GroupName"] for group in instance["SecurityGroups"]] == ["default"]


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


async def test_hibernate_on_pause(configured: Configured) -> None:
    async with configured(hibernate_on_pause=True) as made:
        instance = await made.instance(await made.launch())
    assert instance["HibernationOptions"] == {"Configured": True}


async def test_the_user_data_is_what_was_built(configured: Configured) -> None:
    async with configured(ssh_user="agent") as made:
        order = await made.order()
        text = await user_data(made, await made.ec2.machines.launch(order, made.attempts))
    assert text.startswith("#cloud-config\n")
    assert order.keys.user.public.strip() in text
    assert order.keys.user.private.reveal() not in text
    assert '"name": "agent"' in text
