"""Instances and their machines: what the API says is what the machine does, and the other way round."""

import base64
from typing import Any

import asyncssh
import pytest

from tests.integration.local_region.ask import Launch, every, refused, seen, until
from tests.integration.local_region.shell import Login, refuses
from tests.region import RunningRegion


async def test_stop_and_start_keep_disk_and_private_address_and_change_the_public_one(
    ec2: Any, launch: Launch
) -> None:
    login = Login()
    instance_id = (await launch(UserData=login.user_data))["InstanceId"]
    before = await until(ec2, instance_id, "running")
    await login.run(before["PublicIpAddress"], "echo kept > note")
    await ec2.stop_instances(InstanceIds=[instance_id])
    stopped = await until(ec2, instance_id, "stopped")
    assert "PublicIpAddress" not in stopped
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert stopped["StateTransitionReason"].startswith("User initiated (")
    for address in (before["PublicIpAddress"], before["PrivateIpAddress"]):
        assert await refuses(address)
    await ec2.start_instances(InstanceIds=[instance_id])
    after = await until(ec2, instance_id, "running")
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] != before["PublicIpAddress"]
    for address in (after["PublicIpAddress"], after["PrivateIpAddress"]):
        assert await login.run(address, "cat note") == "kept"


async def test_terminate_ends_the_machine_and_removes_its_disk(
    here: RunningRegion, ec2: Any, launch: Launch
) -> None:
    login = Login()
    instance_id = (await launch(UserData=login.user_data))["InstanceId"]
    running = await until(ec2, instance_id, "running")
    await login.run(running["PublicIpAddress"], "mkdir closed && touch closed/file && chmod 0 closed")
    assert (here.folder / "machines" / instance_id).is_dir()
    await ec2.terminate_instances(InstanceIds=[instance_id])
    over = await until(ec2, instance_id, "terminated")
    assert "PublicIpAddress" not in over
    assert over["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert over["StateTransitionReason"].startswith("User initiated (")
    assert "sshd listens" in (await ec2.get_console_output(InstanceId=instance_id))["Output"]
    assert await refuses(running["PublicIpAddress"])
    assert not (here.folder / "machines" / instance_id).exists()
    mine = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    assert (await ec2.describe_volumes(Filters=mine))["Volumes"] == []
    attribute = await ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    assert attribute["UserData"].get("Value", "") == ""


@pytest.mark.parametrize(("behaviour", "state"), [("stop", "stopped"), ("terminate", "terminated")])
async def test_a_machine_that_powers_itself_off(ec2: Any, launch: Launch, behaviour: str, state: str) -> None:
    login = Login()
    asked = await launch(UserData=login.user_data, InstanceInitiatedShutdownBehavior=behaviour)
    running = await until(ec2, asked["InstanceId"], "running")
    async with await login.connect(running["PublicIpAddress"]) as connection:
        ended = await connection.run("sudo poweroff; sleep 60; echo still here")
        assert ended.stdout == ""
    instance = await until(ec2, asked["InstanceId"], state)
    assert instance["StateReason"] == {
        "Code": "Client.InstanceInitiatedShutdown",
        "Message": "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
    }
    assert await refuses(running["PublicIpAddress"])
    said = (await ec2.get_console_output(InstanceId=asked["InstanceId"]))["Output"]
    assert "sshd listens" in said
    assert "power-off asked for inside the machine" in said


async def test_the_shutdown_behaviour_can_be_changed(ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    await ec2.modify_instance_attribute(
        InstanceId=instance_id, InstanceInitiatedShutdownBehavior={"Value": "terminate"}
    )
    shown = await ec2.describe_instance_attribute(
        InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert shown["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


async def test_type_and_user_data_change_only_while_stopped(ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    bigger = {"InstanceId": instance_id, "InstanceType": {"Value": "t3.large"}}
    assert await refused(ec2.modify_instance_attribute(**bigger)) == ("IncorrectInstanceState", 400)
    await ec2.stop_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "stopped")
    await ec2.modify_instance_attribute(**bigger)
    await ec2.modify_instance_attribute(InstanceId=instance_id, UserData={"Value": b"#cloud-config\n"})
    instance = await seen(ec2, instance_id)
    assert instance is not None
    assert instance["InstanceType"] == "t3.large"
    shown = await ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    assert base64.b64decode(shown["UserData"]["Value"]) == b"#cloud-config\n"


async def test_the_console_is_the_machines(ec2: Any, launch: Launch) -> None:
    login = Login()
    running = await until(ec2, (await launch(UserData=login.user_data))["InstanceId"], "running")
    await login.run(running["PublicIpAddress"], "true")
    answer = await ec2.get_console_output(InstanceId=running["InstanceId"])
    assert answer["InstanceId"] == running["InstanceId"]
    assert "sshd listens" in answer["Output"]
    await ec2.stop_instances(InstanceIds=[running["InstanceId"]])
    await until(ec2, running["InstanceId"], "stopped")
    answer = await ec2.get_console_output(InstanceId=running["InstanceId"])
    assert "sshd listens" in answer["Output"]


async def test_a_key_pairs_public_key_lets_in(ec2: Any, launch: Launch) -> None:
    login = Login()
    await ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=login.user_key.export_public_key())
    without = Login(host_key=login.host_key).user_data
    running = await until(ec2, (await launch(UserData=without, KeyName="mine"))["InstanceId"], "running")
    assert running["KeyName"] == "mine"
    assert await login.run(running["PublicIpAddress"], "whoami") == "ubuntu"
    shown = (await ec2.describe_key_pairs(KeyNames=["mine"]))["KeyPairs"]
    assert [pair["KeyName"] for pair in shown] == ["mine"]
    assert await refused(ec2.describe_key_pairs(KeyNames=["nobody"])) == ("InvalidKeyPair.NotFound", 400)


async def test_a_key_pair_made_by_the_region_lets_in(ec2: Any, launch: Launch) -> None:
    made = await ec2.create_key_pair(KeyName="made", KeyType="ed25519")
    login = Login(user_key=asyncssh.import_private_key(made["KeyMaterial"]))
    without = Login(host_key=login.host_key).user_data
    running = await until(ec2, (await launch(UserData=without, KeyName="made"))["InstanceId"], "running")
    assert await login.run(running["PublicIpAddress"], "whoami") == "ubuntu"
    assert await refused(ec2.create_key_pair(KeyName="made")) == ("InvalidKeyPair.Duplicate", 400)


async def test_terminate_during_a_slow_boot_ends_it(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(pending_secs=60, visible_after=0)
    instance_id = (await launch())["InstanceId"]
    stop = ec2.stop_instances(InstanceIds=[instance_id])
    assert await refused(stop) == ("IncorrectInstanceState", 400)
    await ec2.terminate_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "terminated")


async def test_termination_protection(ec2: Any, launch: Launch) -> None:
    instance_id = (await launch(DisableApiTermination=True))["InstanceId"]
    await until(ec2, instance_id, "running")
    ending = ec2.terminate_instances(InstanceIds=[instance_id])
    assert await refused(ending) == ("OperationNotPermitted", 400)
    await ec2.modify_instance_attribute(InstanceId=instance_id, DisableApiTermination={"Value": False})
    await ec2.terminate_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "terminated")


async def test_doing_twice_is_doing_once(ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    for verb, state in (("stop", "stopped"), ("start", "running"), ("terminate", "terminated")):
        act = getattr(ec2, f"{verb}_instances")
        await act(InstanceIds=[instance_id])
        await act(InstanceIds=[instance_id])
        await until(ec2, instance_id, state)
        await act(InstanceIds=[instance_id])
        await until(ec2, instance_id, state)
    assert await refused(ec2.start_instances(InstanceIds=[instance_id])) == ("IncorrectInstanceState", 400)


async def test_reboot_keeps_everything(ec2: Any, launch: Launch) -> None:
    login = Login()
    instance_id = (await launch(UserData=login.user_data))["InstanceId"]
    before = await until(ec2, instance_id, "running")
    first = await login.run(
        before["PublicIpAddress"], "cat /proc/sys/kernel/random/boot_id; echo kept > note"
    )
    await ec2.reboot_instances(InstanceIds=[instance_id])
    assert await login.run(before["PublicIpAddress"], "cat note") == "kept"
    assert first
    assert len(await every(ec2, InstanceIds=[instance_id])) == 1
