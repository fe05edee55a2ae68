"""Machines that are left to their users, and what a sweep finds of everything else."""

import asyncio
from typing import Any

import pytest

from ciab.core.errors import RuntimeUnavailable
from ciab.core.ids import OwnerId
from ciab.core.machine import Machine, MachineState, Remain, RemainKind
from ciab.core.spec import Spec
from tests.ec2 import OWNER, Account, account, tags
from tests.region import REGION

WORN = [
    {"Key": "ciab-managed", "Value": "true"},
    {"Key": "ciab-owner", "Value": str(OWNER)},
    {"Key": "ciab-sandbox-id", "Value": "somebody"},
]


async def running(made: Account, spec: Spec | None = None) -> Machine:
    order = await made.order(*([spec] if spec else []))
    await made.ec2.machines.launch(order, made.attempts)
    return await until(made, order.sandbox_id, MachineState.RUNNING)


async def until(made: Account, sandbox_id: Any, state: MachineState) -> Machine:
    async with asyncio.timeout(20):
        while True:
            seen = await made.ec2.machines.find(sandbox_id, made.ec2.home)
            if seen and seen.state is state:
                return seen


async def stopped(made: Account) -> Machine:
    machine = await running(made)
    await made.ec2.machines.stop(machine)
    return await until(made, machine.sandbox_id, MachineState.STOPPED)


async def parts(made: Account, machine: Machine) -> tuple[list[str], list[dict[str, str]]]:
    """Ids of the instance, its disk and its interface, and the tags of each."""
    client, instance = await made.client(), await made.instance(machine)
    disk = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    nic = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    (volume,) = (await client.describe_volumes(VolumeIds=[disk]))["Volumes"]
    (interface,) = (await client.describe_network_interfaces(NetworkInterfaceIds=[nic]))["NetworkInterfaces"]
    worn = [tags(listed) for listed in (instance["Tags"], volume["Tags"], interface["TagSet"])]
    return [machine.id, disk, nic], worn


async def by_id(made: Account, owner: OwnerId = OWNER) -> dict[str, Remain]:
    return {remain.id: remain for remain in await made.ec2.remains.look(REGION, owner)}


async def test_a_released_machine_loses_our_tag_on_all_its_parts_and_is_never_ended_by_us(
    made: Account,
) -> None:
    machine = await stopped(made)
    ids, before = await parts(made, machine)
    assert set(ids) <= (await by_id(made)).keys()
    await made.ec2.machines.release(machine)
    _, after = await parts(made, machine)
    for worn, left in zip(before, after, strict=True):
        assert left.pop("ciab-released").endswith("+00:00")
        assert worn.pop("ciab-managed") == "true"
        assert left == worn
    assert not set(ids) & (await by_id(made)).keys()
    client = await made.client()
    behaviour = await client.describe_instance_attribute(
        InstanceId=machine.id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "stop"


async def test_a_machine_whose_tag_somebody_took_away_is_theirs_and_never_ended_by_us(made: Account) -> None:
    machine = await running(made)
    client = await made.client()
    await client.delete_tags(Resources=[machine.id], Tags=[{"Key": "ciab-managed"}])
    await made.ec2.machines.terminate(machine.sandbox_id, made.ec2.home, made.attempts)
    assert (await made.instance(machine))["State"]["Name"] == "running"


@pytest.mark.parametrize("action", ["ModifyInstanceAttribute", "CreateTags", "DeleteTags"])
async def test_a_release_whose_answer_was_lost_is_finished_by_the_next(made: Account, action: str) -> None:
    machine = await stopped(made)
    ids, _ = await parts(made, machine)
    await made.here.set_faults(lose=[{"action": action, "times": 1}])
    with pytest.raises(RuntimeUnavailable, match=f"could not release {machine.id}"):
        await made.ec2.machines.release(machine)
    await made.ec2.machines.release(machine)
    _, after = await parts(made, machine)
    assert not [worn for worn in after if "ciab-managed" in worn or "ciab-released" not in worn]
    assert not set(ids) & (await by_id(made)).keys()


async def test_a_sweep_sees_disks_and_interfaces_and_ends_the_free_ones(made: Account) -> None:
    machine = await running(made)
    ids, _ = await parts(made, machine)
    client = await made.client()
    disk, kept, nic = await loose(client)
    found = await by_id(made)
    assert [found[one].kind for one in ids] == [RemainKind.MACHINE, RemainKind.VOLUME, RemainKind.INTERFACE]
    assert [found[one].free for one in ids] == [True, False, False]
    assert {found[one].sandbox_id for one in ids} == {machine.sandbox_id}
    assert [(found[one].free, found[one].keep) for one in (disk, kept, nic)] == [
        (True, False),
        (True, True),
        (True, False),
    ]
    with pytest.raises(RuntimeUnavailable, match="in use"):
        await made.ec2.remains.end(found[ids[1]])
    for one in (disk, nic):
        assert await made.ec2.remains.again(found[one]) == found[one]
        await made.ec2.remains.end(found[one])
        await made.ec2.remains.end(found[one])
        assert await made.ec2.remains.again(found[one]) is None
    await client.delete_volume(VolumeId=kept)
    assert ids[1] in await by_id(made)


async def loose(client: Any) -> tuple[str, str, str]:
    """A volume, one that is to be kept, and an interface: with our tags and attached to nothing."""
    made = []
    for more in ([], [{"Key": "ciab-keep", "Value": ""}]):
        tagged = [{"ResourceType": "volume", "Tags": [*WORN, *more]}]
        volume = await client.create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=tagged)
        made.append(volume["VolumeId"])
    subnet = (await client.describe_subnets())["Subnets"][0]["SubnetId"]
    interface = (await client.create_network_interface(SubnetId=subnet))["NetworkInterface"]
    nic = interface["NetworkInterfaceId"]
    await client.create_tags(Resources=[nic], Tags=WORN)
    return made[0], made[1], nic


async def test_a_sweep_sees_only_what_is_managed_and_its_owners(made: Account) -> None:
    mine = await running(made)
    client = await made.client()
    bare = (await client.create_volume(AvailabilityZone="us-east-1a", Size=1))["VolumeId"]
    half = (await client.create_volume(AvailabilityZone="us-east-1a", Size=1))["VolumeId"]
    await client.create_tags(Resources=[half], Tags=WORN[1:])
    async with account(made.here, owner=OwnerId("another")) as other:
        theirs = await other.launch()
        found, others = await by_id(made), await by_id(made, OwnerId("another"))
        assert (mine.id in found, theirs.id in found) == (True, False)
        assert (mine.id in others, theirs.id in others) == (False, True)
        assert not {bare, half} & (found.keys() | others.keys())
        await other.clean()
    for volume in (bare, half):
        await client.delete_volume(VolumeId=volume)
    assert await made.ec2.remains.look("eu-west-1", OWNER) == []


async def test_a_machine_whose_tag_was_taken_off_by_hand_is_nobodys_prey(made: Account) -> None:
    machine = await running(made)
    remain = (await by_id(made))[machine.id]
    client = await made.client()
    await client.delete_tags(Resources=[machine.id], Tags=[{"Key": "ciab-managed"}])
    assert await made.ec2.remains.again(remain) is None
    assert await made.ec2.machines.find(machine.sandbox_id, made.ec2.home) is None
    await client.create_tags(Resources=[machine.id], Tags=[{"Key": "ciab-managed", "Value": "true"}])
    assert await made.ec2.remains.again(remain) is not None
