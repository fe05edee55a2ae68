"""The faults that a test can ask for, and AWS's limits."""

import asyncio
import time
from typing import Any

import httpx
from botocore.exceptions import ClientError, ConnectionClosedError
from pytest import raises

from tests.integration.local_region.ask import Launch, every, refused, seen, until
from tests.region import RunningRegion


async def test_a_new_instance_is_visible_late(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(visible_after=0.5)
    began = time.monotonic()
    instance_id = (await launch())["InstanceId"]
    assert await seen(ec2, instance_id) is None
    named = ec2.describe_instances(InstanceIds=[instance_id])
    assert await refused(named) == ("InvalidInstanceID.NotFound", 400)
    early = ec2.terminate_instances(InstanceIds=[instance_id])
    assert await refused(early) == ("InvalidInstanceID.NotFound", 400)
    await until(ec2, instance_id, "running")
    assert time.monotonic() - began >= 0.5


async def test_states_take_their_time(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(pending_secs=0.6, stopping_secs=0.6, shutting_down_secs=0.6, visible_after=0)
    instance_id = (await launch())["InstanceId"]
    for verb, passing, state in (
        ("", "pending", "running"),
        ("stop", "stopping", "stopped"),
        ("start", "pending", "running"),
        ("terminate", "shutting-down", "terminated"),
    ):
        began = time.monotonic()
        if verb:
            await getattr(ec2, f"{verb}_instances")(InstanceIds=[instance_id])
        instance = await seen(ec2, instance_id)
        assert instance is not None
        assert instance["State"]["Name"] == passing
        await until(ec2, instance_id, state)
        assert time.monotonic() - began >= 0.5


async def test_no_capacity_by_type_and_zone(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(
        capacity=[
            {"type": "t3.large", "zone": "us-east-1a"},
            {"type": "t3.xlarge"},
            {"type": "m5.large", "zone": "us-east-1a", "code": "InsufficientFreeAddressesInSubnet"},
        ]
    )
    zone_a = {"Placement": {"AvailabilityZone": "us-east-1a"}}
    assert await refused(launch(InstanceType="t3.large", **zone_a)) == ("InsufficientInstanceCapacity", 500)
    assert await refused(launch(InstanceType="t3.xlarge")) == ("InsufficientInstanceCapacity", 500)
    assert await refused(launch(InstanceType="m5.large", **zone_a)) == (
        "InsufficientFreeAddressesInSubnet",
        400,
    )
    elsewhere = await launch(InstanceType="t3.large")
    assert elsewhere["Placement"]["AvailabilityZone"] == "us-east-1b"


async def test_a_stopped_instance_may_find_no_capacity(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    await ec2.stop_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "stopped")
    await here.set_faults(capacity=[{"type": "t3.*"}])
    call = ec2.start_instances(InstanceIds=[instance_id])
    assert await refused(call) == ("InsufficientInstanceCapacity", 500)
    instance = await seen(ec2, instance_id)
    assert instance is not None
    assert instance["State"]["Name"] == "stopped"


async def test_a_start_whose_answer_is_lost_starts(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    await ec2.stop_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "stopped")
    await here.set_faults(throttle=[{"action": "StartInstances", "times": 1}])
    assert await refused(ec2.start_instances(InstanceIds=[instance_id])) == ("RequestLimitExceeded", 503)
    await here.set_faults(lose=[{"action": "StartInstances", "times": 1}])
    with raises(ConnectionClosedError):
        await ec2.start_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "running")


async def test_quotas(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(visible_after=0)
    active = {i["InstanceId"] for i in await every(ec2) if i["State"]["Name"] in {"pending", "running"}}
    await here.set_faults(quota={"instances": len(active) + 1})
    await launch()
    assert await refused(launch()) == ("InstanceLimitExceeded", 400)
    await here.set_faults(quota={"vcpus": 2 * len(active) + 2})
    assert await refused(launch()) == ("VcpuLimitExceeded", 400)


async def test_the_documented_rate_limits_are_on_by_default(here: RunningRegion, ec2: Any) -> None:
    await here.set_faults(rate_scale=1.0)
    calls = [ec2.start_instances(InstanceIds=["i-0fedcba9876543210"]) for _ in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = [answer.response["Error"]["Code"] for answer in answers if isinstance(answer, ClientError)]
    assert codes.count("InvalidInstanceID.NotFound") in range(5, 7)
    assert codes.count("RequestLimitExceeded") >= 2


async def test_throttled_and_failed_calls_do_nothing(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(throttle=[{"action": "RunInstances", "times": 1}], visible_after=0)
    before = len(await every(ec2))
    assert await refused(launch()) == ("RequestLimitExceeded", 503)
    await here.set_faults(
        error=[{"action": "Run*", "code": "Unavailable", "status": 503, "times": 1, "skip": 1}]
    )
    await launch()
    assert await refused(launch()) == ("Unavailable", 503)
    assert len(await every(ec2)) == before + 1


async def test_every_second_call_is_throttled_and_every_third_answer_lost(
    here: RunningRegion, ec2: Any
) -> None:
    await here.set_faults(
        throttle=[{"action": "DescribeInstances", "every": 2}],
        lose=[{"action": "DescribeInstances", "every": 3}],
    )
    told = []
    for _ in range(12):
        try:
            await ec2.describe_instances()
        except ConnectionClosedError:
            told.append("lost")
        except ClientError as error:
            told.append(error.response["Error"]["Code"])
        else:
            told.append("ok")
    # what was throttled had no answer to lose
    assert told[1::2] == ["RequestLimitExceeded"] * 6
    assert told[::2] == ["ok", "ok", "lost"] * 2


async def test_a_lost_answer_closes_the_connection_and_the_work_is_done(
    here: RunningRegion, ec2: Any, launch: Launch
) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    await here.set_faults(lose=[{"action": "TerminateInstances", "times": 1}])
    with raises(ConnectionClosedError):
        await ec2.terminate_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "terminated")


async def test_an_answer_can_be_late(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(delay=[{"action": "RunInstances", "secs": 0.5, "times": 1}], visible_after=0)
    before = len(await every(ec2))
    late = asyncio.create_task(launch())
    async with asyncio.timeout(5):
        while len(await every(ec2)) == before:
            await asyncio.sleep(0.02)  # asking is the only way to learn it
    assert not late.done()
    await late


async def test_a_machine_that_does_not_boot(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    await here.set_faults(start_fails=[{"times": 1, "message": "the host has no memory left"}])
    instance = await until(ec2, (await launch())["InstanceId"], "terminated")
    assert instance["StateReason"]["Code"] == "Server.InternalError"
    assert "no memory left" in instance["StateReason"]["Message"]


async def test_a_start_that_fails_leaves_the_instance_stopped(
    here: RunningRegion, ec2: Any, launch: Launch
) -> None:
    instance_id = (await launch())["InstanceId"]
    await until(ec2, instance_id, "running")
    await ec2.stop_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "stopped")
    await here.set_faults(start_fails=[{"times": 1}])
    await ec2.start_instances(InstanceIds=[instance_id])
    instance = await until(ec2, instance_id, "stopped")
    assert instance["StateReason"]["Code"] == "Server.InternalError"
    await ec2.start_instances(InstanceIds=[instance_id])
    await until(ec2, instance_id, "running")


async def test_an_unknown_fault_is_refused(here: RunningRegion) -> None:
    async with httpx.AsyncClient(base_url=here.endpoint, trust_env=False) as http:
        answer = await http.put("/_ciab/faults", json={"visable_after": 1})
        assert answer.status_code == 400
        assert "visable_after" in answer.text
        assert "visible_after" in answer.text


async def test_pages_in_a_browser_are_kept_out(here: RunningRegion) -> None:
    async with httpx.AsyncClient(base_url=here.endpoint, trust_env=False) as http:
        for headers in ({"Host": "rebound.example:80"}, {"Origin": "https://evil.example"}):
            answer = await http.put("/_ciab/faults", json={}, headers=headers)
            assert answer.status_code == 403
