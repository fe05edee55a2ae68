"""The EC2 adapter when EC2 is having a bad day: each fault is asked of the region, one machine comes out."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ciab.core.errors import CapacityUnavailable, RuntimeRejected, RuntimeUnavailable
from ciab.core.machine import LaunchOrder, Machine, MachineState, Outcome
from ciab.core.secret import Secret
from tests.ec2 import OWNER, Account, account
from tests.region import RunningRegion


async def launched_at_last(made: Account, order: LaunchOrder) -> Machine:
    """As the pipeline does it: again while the fault says "try again"."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await made.ec2.machines.launch(order, made.attempts)
            except RuntimeUnavailable:
                continue


@pytest.mark.parametrize("times", [1, 4])
async def test_lost_answers_are_asked_for_again_with_the_same_token(made: Account, times: int) -> None:
    await made.here.set_faults(lose=[{"action": "RunInstances", "times": times}])
    order = await made.order()
    machine = await launched_at_last(made, order)
    assert [found["InstanceId"] for found in await made.instances(order.sandbox_id)] == [machine.id]
    sent = (await made.requests())[-times - 1 :]
    assert {call["parameters"]["ClientToken"] for call in sent} == {f"{order.sandbox_id}-1"}
    assert [call["result"] for call in sent] == ["lost"] * times + ["ok"]


@pytest.mark.parametrize(
    ("code", "status"), [("InternalError", 500), ("ServiceUnavailable", 503), ("Whatever", 502)]
)
async def test_a_server_error_leaves_the_attempt_open(made: Account, code: str, status: int) -> None:
    await made.here.set_faults(error=[{"action": "RunInstances", "code": code, "status": status, "times": 1}])
    order = await made.order()
    with pytest.raises(RuntimeUnavailable, match="could not launch a machine in us-east-1"):
        await made.ec2.machines.launch(order, made.attempts)
    assert (await made.attempt(order)).outcome is Outcome.OPEN
    machine = await launched_at_last(made, order)
    assert [found["InstanceId"] for found in await made.instances(order.sandbox_id)] == [machine.id]


async def test_throttling_launches_nothing_and_is_no_open_question(made: Account) -> None:
    await made.here.set_faults(throttle=[{"action": "RunInstances", "times": 1}])
    order = await made.order()
    with pytest.raises(RuntimeUnavailable, match="takes no more requests"):
        await made.ec2.machines.launch(order, made.attempts)
    assert (await made.attempt(order)).outcome is Outcome.REFUSED
    assert await made.instances(order.sandbox_id) == []


async def test_throttling_of_a_repeated_launch_leaves_it_open(made: Account) -> None:
    await made.here.set_faults(lose=[{"action": "RunInstances", "times": 1}])
    order = await made.order()
    with pytest.raises(RuntimeUnavailable):
        await made.ec2.machines.launch(order, made.attempts)
    await made.here.set_faults(throttle=[{"action": "RunInstances", "times": 1}])
    with pytest.raises(RuntimeUnavailable):
        await made.ec2.machines.launch(order, made.attempts)
    assert (await made.attempt(order)).outcome is Outcome.OPEN


async def test_what_takes_several_calls_is_done_although_every_second_one_is_throttled(
    made: Account,
) -> None:
    machine = await made.launch()
    await made.here.set_faults(throttle=[{"action": "*", "every": 2}])
    remains = await made.ec2.remains.look("us-east-1", OWNER)
    assert {remain.sandbox_id for remain in remains} == {machine.sandbox_id}
    await made.ec2.machines.terminate(machine.sandbox_id, made.ec2.home, made.attempts)
    await made.here.set_faults(throttle=[])
    assert (await made.instance(machine))["State"]["Name"] in {"shutting-down", "terminated"}


async def test_lasting_throttling_is_told_after_a_few_tries(made: Account) -> None:
    await made.here.set_faults(throttle=[{"action": "DescribeVolumes"}])
    before = len(await made.requests("DescribeVolumes"))
    with pytest.raises(RuntimeUnavailable, match="takes no more requests"):
        await made.ec2.remains.look("us-east-1", OWNER)
    assert len(await made.requests("DescribeVolumes")) - before == 4


async def test_the_adapter_stays_within_the_documented_rates(made: Account) -> None:
    await made.here.set_faults(rate_scale=1.0)
    orders = [await made.order() for _ in range(8)]
    machines = await asyncio.gather(*(made.ec2.machines.launch(o, made.attempts) for o in orders))
    assert len({machine.id for machine in machines}) == 8
    assert {call["result"] for call in (await made.requests())[-8:]} == {"ok"}


async def test_a_machine_that_is_not_visible_yet_is_neither_missing_nor_gone(made: Account) -> None:
    await made.here.set_faults(visible_after=0.5)
    order = await made.order()
    machine = await made.ec2.machines.launch(order, made.attempts)
    assert await made.ec2.machines.find(order.sandbox_id, order.site.place) is None
    with pytest.raises(RuntimeUnavailable, match="does not show it yet"):
        await made.ec2.machines.terminate(order.sandbox_id, order.site.place, made.attempts)
    async with asyncio.timeout(10):
        while not await made.ec2.machines.find(order.sandbox_id, order.site.place):
            pass
    await made.ec2.machines.terminate(order.sandbox_id, order.site.place, made.attempts)
    seen = await made.ec2.machines.find(order.sandbox_id, order.site.place)
    assert seen
    assert (seen.id, seen.state) in {(machine.id, MachineState.ENDING), (machine.id, MachineState.ENDED)}


async def test_a_machine_that_is_unknown_long_after_its_launch_is_gone(made: Account) -> None:
    order = await made.order()
    await made.ec2.machines.launch(order, made.attempts)
    attempt = await made.attempt(order)
    await made.attempts.settle(attempt, Outcome.LAUNCHED, "i-00000000000000000")
    with pytest.raises(RuntimeUnavailable):
        await made.ec2.machines.terminate(order.sandbox_id, order.site.place, made.attempts)
    made.clock.ahead = timedelta(minutes=6)
    await made.ec2.machines.terminate(order.sandbox_id, order.site.place, made.attempts)
    assert await made.instances(order.sandbox_id) == []


async def test_no_capacity_means_every_type_in_every_subnet_in_order(here: RunningRegion) -> None:
    async with here.client("ec2") as client:
        listed = (await client.describe_subnets())["Subnets"]
    zones = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in listed}
    b, c = zones["us-east-1b"], zones["us-east-1c"]
    no = [{"type": "t3.medium"}, {"type": "t3.large", "zone": "us-east-1b", "code": "Unsupported"}]
    await here.set_faults(capacity=no)
    async with account(here, instance_types=["t3.large"], subnet_id=b, subnet_ids=[c]) as made:
        order = await made.order()
        machine = await made.ec2.machines.launch(order, made.attempts)
        assert (machine.type, machine.zone) == ("t3.large", "us-east-1c")
        past = await made.attempts.past(order.sandbox_id)
        assert [attempt.outcome for attempt in past] == [Outcome.REFUSED] * 3 + [Outcome.LAUNCHED]
        assert [attempt.token for attempt in past] == [f"{order.sandbox_id}-{n}" for n in (1, 2, 3, 4)]
        sent = [call["parameters"] for call in (await made.requests())[-4:]]
        tried = [(one["InstanceType"], one["NetworkInterface.1.SubnetId"]) for one in sent]
        assert tried == [("t3.medium", b), ("t3.medium", c), ("t3.large", b), ("t3.large", c)]
        # what failed is remembered: the next sandbox goes straight to what has capacity
        calls = len(await made.requests())
        assert (await made.launch()).zone == "us-east-1c"
        assert len(await made.requests()) == calls + 1
        await made.clean()


async def test_what_had_no_capacity_is_not_asked_again_for_three_minutes(made: Account) -> None:
    await made.here.set_faults(capacity=[{}])
    order = await made.order()
    with pytest.raises(CapacityUnavailable, match=r"t3\.medium in the default subnet"):
        await made.ec2.machines.launch(order, made.attempts)
    before = len(await made.requests())
    with pytest.raises(CapacityUnavailable, match="a moment ago"):
        await made.ec2.machines.launch(order, made.attempts)
    assert len(await made.requests()) == before
    made.clock.ahead = timedelta(minutes=3, seconds=1)
    await made.here.set_faults(capacity=[])
    assert (await made.ec2.machines.launch(order, made.attempts)).type == "t3.medium"


async def test_a_capacity_error_that_answers_a_repeated_launch_frees_the_way(made: Account) -> None:
    await made.here.set_faults(error=[{"action": "RunInstances", "times": 1}])
    order = await made.order()
    with pytest.raises(RuntimeUnavailable):
        await made.ec2.machines.launch(order, made.attempts)
    await made.here.set_faults(
        error=[{"action": "RunInstances", "code": "InsufficientInstanceCapacity", "times": 1}]
    )
    machine = await made.ec2.machines.launch(order, made.attempts)
    past = await made.attempts.past(order.sandbox_id)
    assert [attempt.outcome for attempt in past] == [Outcome.REFUSED, Outcome.LAUNCHED]
    assert [found["InstanceId"] for found in await made.instances(order.sandbox_id)] == [machine.id]


async def test_no_permission_to_repeat_a_launch_settles_nothing(made: Account) -> None:
    await made.here.set_faults(lose=[{"action": "RunInstances", "times": 1}])
    order = await made.order()
    with pytest.raises(RuntimeUnavailable):
        await made.ec2.machines.launch(order, made.attempts)
    await made.here.set_faults(denied=["RunInstances"])
    with pytest.raises(RuntimeRejected):
        await made.ec2.machines.terminate(order.sandbox_id, order.site.place, made.attempts)
    assert (await made.attempt(order)).outcome is Outcome.OPEN
    # what could be found by tag was ended all the same
    assert await made.instances(order.sandbox_id) == []


async def test_a_launch_of_more_than_an_hour_ago_is_looked_for_and_not_repeated(made: Account) -> None:
    await made.here.set_faults(lose=[{"action": "RunInstances", "times": 1}])
    order = await made.order()
    with pytest.raises(RuntimeUnavailable):
        await made.ec2.machines.launch(order, made.attempts)
    (before,) = await made.instances(order.sandbox_id)
    made.clock.ahead = timedelta(hours=2)
    asked = len(await made.requests())
    machine = await made.ec2.machines.launch(order, made.attempts)
    assert machine.id == before["InstanceId"]
    assert len(await made.requests()) == asked
    await made.ec2.machines.terminate(order.sandbox_id, order.site.place, made.attempts)
    assert await made.instances(order.sandbox_id) == []
    assert len(await made.requests()) == asked


async def test_a_repeated_launch_with_another_request_is_told_as_a_fault_of_ours(made: Account) -> None:
    await made.here.set_faults(lose=[{"action": "RunInstances", "times": 1}])
    order = await made.order()
    with pytest.raises(RuntimeUnavailable):
        await made.ec2.machines.launch(order, made.attempts)
    attempt = await made.attempt(order)
    other = Secret(attempt.request.reveal().replace("t3.medium", "t3.large"))
    made.attempts.all[order.sandbox_id][1] = replace(attempt, request=other)
    with pytest.raises(RuntimeRejected) as caught:
        await made.ec2.machines.launch(order, made.attempts)
    assert "fault of CIAB" in (caught.value.hint or "")
    assert (await made.attempt(order)).outcome is Outcome.OPEN
    made.attempts.all[order.sandbox_id][1] = attempt


async def test_fifty_who_ask_at_once_share_their_describes(made: Account) -> None:
    order = await made.order()
    await made.ec2.machines.launch(order, made.attempts)
    before = len(await made.requests("DescribeInstances"))
    asked = (made.ec2.machines.find(order.sandbox_id, order.site.place) for _ in range(50))
    seen = await asyncio.gather(*asked)
    assert len({machine.id for machine in seen if machine}) == 1
    assert len(await made.requests("DescribeInstances")) - before <= 2


async def test_a_machine_that_is_still_stopping_is_started_later(made: Account) -> None:
    await made.here.set_faults(stopping_secs=0.5)
    order = await made.order()
    await made.ec2.machines.launch(order, made.attempts)
    async with asyncio.timeout(20):
        while True:
            seen = await made.ec2.machines.find(order.sandbox_id, order.site.place)
            if seen and seen.state is MachineState.RUNNING:
                break
    await made.ec2.machines.stop(seen)
    with pytest.raises(RuntimeUnavailable, match="stopping"):
        await made.ec2.machines.start(seen)
