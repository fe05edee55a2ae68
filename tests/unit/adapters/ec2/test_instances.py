"""From EC2's Instance to a machine: whose it is, why it stopped, what it can do."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ciab.adapters.ec2.instances import machine_of, machines_in
from ciab.core.ids import SandboxId
from ciab.core.machine import Cause


def instance(state: str = "stopped", code: str = "", **more: Any) -> dict[str, Any]:
    return {
        "InstanceId": "i-1",
        "State": {"Name": state},
        "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC),
        "StateReason": {"Code": code, "Message": f"{code}: words"},
        **more,
    }


def cause(state: str, code: str) -> Cause | None:
    return machine_of(instance(state, code), SandboxId("box"), "us-east-1").cause


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("Client.UserInitiatedShutdown", Cause.ASKED),
        ("Client.UserInitiatedHibernate", Cause.ASKED),
        ("Client.InstanceInitiatedShutdown", Cause.ITSELF),
        ("Server.SpotInstanceTermination", Cause.SPOT),
        ("Server.SpotInstanceShutdown", Cause.SPOT),
        ("Server.InsufficientInstanceCapacity", Cause.PROVIDER),
        ("Server.InternalError", Cause.PROVIDER),
        ("Server.ScheduledStop", Cause.PROVIDER),
        ("Server.SomethingNew", Cause.PROVIDER),
        ("Client.VolumeLimitExceeded", Cause.PROVIDER),
        ("Client.InternalError", Cause.PROVIDER),
        ("Client.InvalidSnapshot.NotFound", Cause.PROVIDER),
        ("Client.InstanceTerminated", None),
        ("", None),
    ],
)
def test_the_cause_is_by_ec2s_code(code: str, expected: Cause | None) -> None:
    for state in ("stopping", "stopped", "shutting-down", "terminated"):
        assert cause(state, code) is expected


def test_a_machine_at_work_has_no_cause_of_a_stop() -> None:
    assert cause("running", "Client.UserInitiatedShutdown") is None
    assert cause("pending", "pending") is None


def test_an_instance_without_a_reason_has_no_cause() -> None:
    bare = instance()
    del bare["StateReason"]
    assert machine_of(bare, SandboxId("box"), "us-east-1").cause is None


def test_spot_and_hibernation_are_read() -> None:
    plain = machine_of(instance(), SandboxId("box"), "us-east-1")
    assert (plain.spot, plain.hibernates) == (False, False)
    spot = instance(InstanceLifecycle="spot", HibernationOptions={"Configured": False})
    read = machine_of(spot, SandboxId("box"), "us-east-1")
    assert (read.spot, read.hibernates) == (True, False)
    able = instance(HibernationOptions={"Configured": True})
    assert machine_of(able, SandboxId("box"), "us-east-1").hibernates


@pytest.mark.parametrize("managed", [None, "false", ""])
def test_what_is_not_managed_is_not_ours(managed: str | None) -> None:
    worn = [{"Key": "ciab-sandbox-id", "Value": "box"}, {"Key": "ciab-owner", "Value": "me"}]
    if managed is not None:
        worn.append({"Key": "ciab-managed", "Value": managed})
    answer = {"Reservations": [{"Instances": [instance(Tags=worn)]}]}
    assert list(machines_in(answer, "us-east-1")) == []
    answer["Reservations"][0]["Instances"][0]["Tags"] = [*worn[:2], {"Key": "ciab-managed", "Value": "true"}]
    assert [one.sandbox_id for one in machines_in(answer, "us-east-1")] == ["box"]
