"""What the credentials may not do, as `ciab doctor` tells it."""

import pytest

from tests.ec2 import account
from tests.installation import Installation
from tests.region import RunningRegion


async def test_a_denied_launch_names_the_action_to_allow(
    installation: Installation, here: RunningRegion
) -> None:
    await here.set_faults(denied=["RunInstances"])
    wrong = installation.wrong()
    assert set(wrong) == {"launch"}
    assert '"Action": "ec2:RunInstances"' in wrong["launch"]["hint"]


async def test_a_launch_that_would_be_refused_says_so(
    installation: Installation, here: RunningRegion
) -> None:
    installation.ec2["iam_instance_profile"] = "not-there"
    await here.set_faults(missing_profiles=["not-there"])
    wrong = installation.wrong()
    assert set(wrong) == {"launch"}
    assert "not-there" in wrong["launch"]["message"]


@pytest.mark.parametrize("action", ["DescribeImages", "DescribeInstances", "DescribeVolumes"])
async def test_a_denied_look_is_told_once_with_the_statement_to_add(
    installation: Installation, here: RunningRegion, action: str
) -> None:
    await here.set_faults(denied=[action])
    wrong = installation.wrong()
    assert set(wrong) == {"permissions"}
    assert f'"Action": ["ec2:{action}"]' in wrong["permissions"]["hint"]


async def test_a_missing_right_of_the_doctors_own_only_hides_what_it_would_see(
    installation: Installation, here: RunningRegion
) -> None:
    await here.set_faults(denied=["DescribeSubnets", "DescribeSecurityGroups", "DescribeKeyPairs"])
    code, found = installation.findings()
    assert code == 0
    assert found["subnet"]["status"] == found["security group"]["status"] == "skipped"
    assert "ec2:DescribeSubnets" in found["subnet"]["hint"]
    assert found["launch"]["status"] == "ok"


async def test_a_denied_stop_is_certain_only_where_there_is_something_of_ours(
    installation: Installation, here: RunningRegion
) -> None:
    """A policy that allows it for what carries our tag denies it for an instance that does not exist."""
    await here.set_faults(denied=["StopInstances", "DeleteVolume"])
    code, found = installation.findings()
    assert code == 0
    assert found["permissions"]["status"] == "warning"
    assert "StopInstances, DeleteVolume" in found["permissions"]["message"]
    async with account(here) as opened:
        machine = await opened.launch()
        wrong = installation.wrong()
        assert set(wrong) == {"permissions"}
        assert '["ec2:StopInstances", "ec2:DeleteVolume"]' in wrong["permissions"]["hint"]
        assert (await opened.instance(machine))["State"]["Name"] in {"pending", "running"}
        await opened.clean()


@pytest.mark.parametrize("action", ["CreateTags", "DeleteTags", "ModifyInstanceAttribute"])
async def test_what_a_release_needs_is_asked_for_where_deletes_release(
    installation: Installation, here: RunningRegion, action: str
) -> None:
    await here.set_faults(denied=[action])
    _, found = installation.findings()
    assert found["permissions"]["status"] == "ok"
    installation.ec2["terminate_on_delete"] = False
    _, found = installation.findings()
    assert found["permissions"]["status"] == "warning"
    assert action in found["permissions"]["message"]
