"""Spot instances: asked for, priced, short of capacity, never stopped, taken back."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.local_region.ask import Launch, launcher, refused, seen, ubuntu, until
from tests.integration.local_region.shell import Login, refuses
from tests.region import RunningRegion, region

SPOT = {"InstanceMarketOptions": {"MarketType": "spot"}}


def at_most(price: str) -> dict[str, Any]:
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": {"MaxPrice": price}}}


async def running_spot(ec2: Any, launch: Launch, **more: Any) -> dict[str, Any]:
    asked = await launch(**SPOT, **more)
    assert asked["InstanceLifecycle"] == "spot"
    return await until(ec2, asked["InstanceId"], "running")


async def test_a_spot_instance_says_so_and_an_ordinary_one_does_not(ec2: Any, launch: Launch) -> None:
    spot = await running_spot(ec2, launch)
    assert spot["InstanceLifecycle"] == "spot"
    assert spot["SpotInstanceRequestId"].startswith("sir-")
    ordinary = await until(ec2, (await launch())["InstanceId"], "running")
    assert "InstanceLifecycle" not in ordinary


async def test_it_can_be_neither_stopped_nor_started(ec2: Any, launch: Launch) -> None:
    ids = [(await running_spot(ec2, launch))["InstanceId"]]
    assert await refused(ec2.stop_instances(InstanceIds=ids)) == ("UnsupportedOperation", 400)
    assert await refused(ec2.start_instances(InstanceIds=ids)) == ("UnsupportedOperation", 400)
    instance = await seen(ec2, ids[0])
    assert instance is not None
    assert instance["State"]["Name"] == "running"


async def test_a_price_below_the_market_is_refused(here: RunningRegion, launch: Launch) -> None:
    await here.set_faults(spot_prices=[{"type": "t3.*", "price": 0.0125}])
    assert await refused(launch(**at_most("0.01"))) == ("SpotMaxPriceTooLow", 400)
    assert await refused(launch(**at_most("free"))) == ("InvalidParameterValue", 400)
    assert (await launch(**at_most("0.0125")))["InstanceLifecycle"] == "spot"
    assert (await launch(**SPOT))["InstanceLifecycle"] == "spot"
    assert (await launch(**at_most("0.001"), InstanceType="m5.large"))["InstanceLifecycle"] == "spot"


async def test_capacity_can_lack_for_spot_only(here: RunningRegion, launch: Launch) -> None:
    await here.set_faults(capacity=[{"market": "spot"}])
    assert await refused(launch(**SPOT)) == ("InsufficientInstanceCapacity", 500)
    assert "InstanceLifecycle" not in await launch()
    await here.set_faults(capacity=[{"market": "on-demand"}])
    assert await refused(launch()) == ("InsufficientInstanceCapacity", 500)
    assert (await launch(**SPOT))["InstanceLifecycle"] == "spot"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"SpotInstanceType": "persistent"}, "UnsupportedOperation"),
        ({"InstanceInterruptionBehavior": "stop"}, "InvalidParameterCombination"),
        ({"MaxPrice": "-1"}, "InvalidParameterValue"),
    ],
)
async def test_what_it_does_not_play_is_refused(launch: Launch, options: dict[str, str], code: str) -> None:
    asked = {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}
    assert await refused(launch(**asked)) == (code, 400)


@pytest.mark.parametrize("secs", [0, 1])
async def test_an_interruption_terminates_and_says_why(
    here: RunningRegion, ec2: Any, launch: Launch, secs: float
) -> None:
    instance = await running_spot(ec2, launch)
    status, said = await here.interrupt(instance["InstanceId"], secs)
    assert status == 200
    assert said["time"].endswith("Z")
    if secs:
        before = await seen(ec2, instance["InstanceId"])
        assert before is not None
        assert before["State"]["Name"] == "running"
    over = await until(ec2, instance["InstanceId"], "terminated")
    assert over["StateReason"] == {
        "Code": "Server.SpotInstanceTermination",
        "Message": "Server.SpotInstanceTermination: Spot instance termination",
    }
    assert await refuses(instance["PublicIpAddress"])
    assert (await here.interrupt(instance["InstanceId"], 0))[0] == 409


async def test_only_a_spot_instance_can_be_interrupted(here: RunningRegion, ec2: Any, launch: Launch) -> None:
    ordinary = await until(ec2, (await launch())["InstanceId"], "running")
    assert (await here.interrupt(ordinary["InstanceId"], 0))[0] == 409
    assert (await here.interrupt("i-0fedcba9876543210", 0))[0] == 404


async def test_one_that_powers_itself_off_is_terminated(ec2: Any, launch: Launch) -> None:
    login = Login()
    instance = await running_spot(ec2, launch, UserData=login.user_data)
    async with await login.connect(instance["PublicIpAddress"]) as connection:
        await connection.run("sudo poweroff; sleep 60")
    over = await until(ec2, instance["InstanceId"], "terminated")
    assert over["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


async def test_a_killed_region_has_taken_its_spot_instances_back(tmp_path: Path) -> None:
    async with region(tmp_path / "region") as alone:
        async with alone.client("ec2") as ec2:
            instance = await running_spot(ec2, launcher(ec2, await ubuntu(alone)))
        alone.kill()
        alone.start()
        async with alone.client("ec2") as ec2:
            found = await seen(ec2, instance["InstanceId"])
        assert found is not None
        assert found["State"]["Name"] == "terminated"
        assert found["StateReason"]["Code"] == "Server.SpotInstanceTermination"
