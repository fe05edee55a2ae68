"""StopInstances with Hibernate: processes go on where they were, unless the region loses them silently."""

from pathlib import Path
from typing import Any

from tests.integration.local_region.ask import Launch, launcher, refused, seen, ubuntu, until
from tests.integration.local_region.shell import Login, refuses
from tests.region import RunningRegion, region

HIBERNATES = {
    "HibernationOptions": {"Configured": True},
    "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "Encrypted": True}}],
}
COUNTER = "setsid sh -c 'while :; do echo x >>beats; sleep 0.02; done' </dev/null >/dev/null 2>&1 &"
BOOT = "cat /proc/sys/kernel/random/boot_id"


async def counting(ec2: Any, launch: Launch, login: Login) -> tuple[dict[str, Any], str]:
    """A running instance that can hibernate, with a process that counts; and its boot id."""
    asked = await launch(UserData=login.user_data, **HIBERNATES)
    instance = await until(ec2, asked["InstanceId"], "running")
    assert instance["HibernationOptions"] == {"Configured": True}
    boot = await login.run(instance["PublicIpAddress"], f"{COUNTER} {BOOT}")
    return instance, boot


async def beats(login: Login, address: str) -> int:
    return int(await login.run(address, "wc -l <beats"))


async def hibernated(ec2: Any, instance_id: str) -> None:
    await ec2.stop_instances(InstanceIds=[instance_id], Hibernate=True)
    stopped = await until(ec2, instance_id, "stopped")
    assert stopped["StateReason"] == {
        "Code": "Client.UserInitiatedHibernate",
        "Message": "Client.UserInitiatedHibernate: User initiated hibernate",
    }
    assert stopped["StateTransitionReason"].startswith("User initiated (")
    assert "PublicIpAddress" not in stopped


async def started(ec2: Any, instance_id: str) -> str:
    await ec2.start_instances(InstanceIds=[instance_id])
    return str((await until(ec2, instance_id, "running"))["PublicIpAddress"])


async def test_it_must_be_configured_at_launch(ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    running = await until(ec2, instance_id, "running")
    assert running["HibernationOptions"] == {"Configured": False}
    stop = ec2.stop_instances(InstanceIds=[instance_id], Hibernate=True)
    assert await refused(stop) == ("UnsupportedHibernationConfiguration", 400)
    instance = await seen(ec2, instance_id)
    assert instance is not None
    assert instance["State"]["Name"] == "running"


async def test_the_disk_must_be_encrypted_and_hold_the_memory(launch: Launch) -> None:
    for disk, kind in (
        ({"VolumeSize": 20}, "t3.medium"),
        ({"VolumeSize": 20, "Encrypted": True}, "t3.2xlarge"),
    ):
        mappings = [{"DeviceName": "/dev/sda1", "Ebs": disk}]
        asked = launch(**(HIBERNATES | {"BlockDeviceMappings": mappings, "InstanceType": kind}))
        assert await refused(asked) == ("UnsupportedHibernationConfiguration", 400)


async def test_processes_outlive_a_hibernation(ec2: Any, launch: Launch) -> None:
    login = Login()
    instance, boot = await counting(ec2, launch, login)
    await hibernated(ec2, instance["InstanceId"])
    for address in (instance["PublicIpAddress"], instance["PrivateIpAddress"]):
        assert await refuses(address)
    address = await started(ec2, instance["InstanceId"])
    assert address != instance["PublicIpAddress"]
    assert await login.run(address, BOOT) == boot
    count = await beats(login, address)
    await login.run(address, f"until [ $(wc -l <beats) -gt {count} ]; do sleep 0.02; done")
    await ec2.stop_instances(InstanceIds=[instance["InstanceId"]])
    stopped = await until(ec2, instance["InstanceId"], "stopped")
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert await login.run(await started(ec2, instance["InstanceId"]), BOOT) != boot


async def test_a_hibernation_can_be_lost_without_a_word(
    here: RunningRegion, ec2: Any, launch: Launch
) -> None:
    login = Login()
    instance, boot = await counting(ec2, launch, login)
    await here.set_faults(hibernation_fails=[{"times": 1}])
    await hibernated(ec2, instance["InstanceId"])
    address = await started(ec2, instance["InstanceId"])
    assert await login.run(address, BOOT) != boot
    assert await beats(login, address) == await beats(login, address) > 0


async def test_a_hibernated_instance_can_be_terminated(ec2: Any, launch: Launch) -> None:
    instance, _ = await counting(ec2, launch, Login())
    await hibernated(ec2, instance["InstanceId"])
    await ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    over = await until(ec2, instance["InstanceId"], "terminated")
    assert over["StateReason"]["Code"] == "Client.UserInitiatedShutdown"


async def test_without_capacity_it_sleeps_on(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    login = Login()
    instance, boot = await counting(ec2, launch, login)
    await hibernated(ec2, instance["InstanceId"])
    await here.set_faults(capacity=[{}])
    call = ec2.start_instances(InstanceIds=[instance["InstanceId"]])
    assert await refused(call) == ("InsufficientInstanceCapacity", 500)
    await here.set_faults(capacity=[])
    assert await login.run(await started(ec2, instance["InstanceId"]), BOOT) == boot


async def test_after_kill_9_of_the_region_the_memory_is_gone_and_the_disk_is_not(tmp_path: Path) -> None:
    login = Login()
    async with region(tmp_path / "region") as alone:
        async with alone.client("ec2") as ec2:
            instance, boot = await counting(ec2, launcher(ec2, await ubuntu(alone)), login)
            await hibernated(ec2, instance["InstanceId"])
        alone.kill()
        alone.start()
        async with alone.client("ec2") as ec2:
            found = await seen(ec2, instance["InstanceId"])
            assert found is not None
            assert found["State"]["Name"] == "stopped"
            said = (await ec2.get_console_output(InstanceId=instance["InstanceId"]))["Output"]
            assert "hibernating" in said
            address = await started(ec2, instance["InstanceId"])
        assert await beats(login, address) > 0
        assert await login.run(address, BOOT) != boot
