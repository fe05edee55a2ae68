"""ClientToken: a launch that is repeated is one launch, counted per zone where the request names one."""

from typing import Any

from tests.integration.local_region.ask import Launch, every, launcher, refused, ubuntu, until
from tests.region import RunningRegion


async def test_the_same_request_again_gives_the_same_instance(ec2: Any, launch: Launch) -> None:
    first = await launch(ClientToken="again")
    await until(ec2, first["InstanceId"], "running")
    second = await launch(ClientToken="again")
    assert second["InstanceId"] == first["InstanceId"]
    assert second["State"]["Name"] == "running"


async def test_changed_parameters_are_a_mismatch(ec2: Any, launch: Launch) -> None:
    await launch(ClientToken="changed")
    for change in ({"InstanceType": "t3.large"}, {"UserData": "#cloud-config\n"}):
        assert await refused(launch(ClientToken="changed", **change)) == ("IdempotentParameterMismatch", 400)


async def test_the_token_counts_per_zone(ec2: Any, launch: Launch) -> None:
    here, there = [s["SubnetId"] for s in (await ec2.describe_subnets())["Subnets"]][:2]
    first = await launch(ClientToken="zonal", SubnetId=here)
    assert (await launch(ClientToken="zonal", SubnetId=here))["InstanceId"] == first["InstanceId"]
    second = await launch(ClientToken="zonal", SubnetId=there)
    assert second["InstanceId"] != first["InstanceId"]
    without_zone = await launch(ClientToken="zonal")
    assert without_zone["InstanceId"] not in {first["InstanceId"], second["InstanceId"]}


async def test_a_terminated_instance_is_not_launched_again(ec2: Any, launch: Launch) -> None:
    first = await launch(ClientToken="over")
    await until(ec2, first["InstanceId"], "running")
    await ec2.terminate_instances(InstanceIds=[first["InstanceId"]])
    await until(ec2, first["InstanceId"], "terminated")
    again = await launch(ClientToken="over")
    assert (again["InstanceId"], again["State"]["Name"]) == (first["InstanceId"], "terminated")


async def test_an_answer_lost_after_the_work_is_repeated_by_its_token(
    here: RunningRegion, ec2: Any, image: str
) -> None:
    before = {instance["InstanceId"] for instance in await every(ec2)}
    await here.set_faults(lose=[{"action": "RunInstances", "times": 2}], visible_after=0)
    async with here.client("ec2", attempts=3) as patient:
        instance = await launcher(patient, image)(ClientToken="lost")
    assert {i["InstanceId"] for i in await every(ec2)} - before == {instance["InstanceId"]}
    last = [call["result"] for call in (await here.calls())["last"] if call["action"] == "RunInstances"]
    assert last[-3:] == ["lost", "lost", "ok"]


async def test_tokens_outlive_the_region_process(here: RunningRegion) -> None:
    async with here.client("ec2") as ec2:
        first = await launcher(ec2, await ubuntu(here))(ClientToken="kept")
    here.kill()
    here.start()
    async with here.client("ec2") as ec2:
        launch = launcher(ec2, await ubuntu(here))
        assert (await launch(ClientToken="kept"))["InstanceId"] == first["InstanceId"]
        changed = launch(ClientToken="kept", InstanceType="t3.large")
        assert await refused(changed) == ("IdempotentParameterMismatch", 400)
