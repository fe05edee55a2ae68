"""Each key of `[runtime.ec2]` that changes where a machine is and how it is reached: launch and look.

Every test fails when its key is ignored, because what it asks for is not the default.
"""

import asyncio

import asyncssh
import pytest

from ciab.adapters.ec2.connect import connect_ec2
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.machine import LaunchOrder, Machine, MachineState
from tests.ec2 import OWNER, SPEC, Account, Configured, wanting
from tests.region import REGION, RunningRegion

OTHER = "eu-west-1"


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


async def running(made: Account, machine: Machine, order: LaunchOrder) -> Machine:
    while True:
        seen = await made.ec2.machines.find(order.sandbox_id, order.site.place)
        if seen and seen.state is MachineState.RUNNING:
            return seen


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


async def test_ssh_port_of_another_backend(configured: Configured) -> None:
    async with configured() as made:
        assert made.ec2.site_of(SPEC).login.port == 2222
    async with configured(ssh_port=22) as made:
        assert made.ec2.site_of(SPEC).login.port == 22


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
