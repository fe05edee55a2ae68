"""What is sent for a stop, a start and a release, and what EC2's answers mean then."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.launching import Launcher
from ciab.adapters.ec2.observer import Observer
from ciab.adapters.ec2.runtime import Ec2Machines
from ciab.core.errors import CapacityUnavailable, RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import Machine, MachineState, Place

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MANAGED = {"Key": "ciab-managed", "Value": "true"}


def a_machine(*, hibernates: bool = False, launched_at: datetime = NOW - timedelta(hours=1)) -> Machine:
    return Machine(
        id="i-1",
        sandbox_id=SandboxId("box"),
        state=MachineState.STOPPED,
        type="t3.medium",
        region="us-east-1",
        zone="us-east-1a",
        image="ami-1",
        public_ip=None,
        private_ip="10.0.0.1",
        launched_at=launched_at,
        hibernates=hibernates,
    )


class Cloud:
    """Stands where `Clients` does: remembers what was sent; `answer` may raise or give another answer."""

    def __init__(self, answer: Callable[[str], dict[str, Any] | None] = lambda action: None) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.answer = answer
        self.state = "stopped"
        self.tags = [MANAGED]

    async def ec2(self, region: str, action: str, **parameters: Any) -> dict[str, Any]:
        self.sent.append((action, parameters))
        given = self.answer(action)
        if given is not None:
            return given
        instance = {"InstanceId": "i-1", "State": {"Name": self.state}, "Tags": self.tags}
        return {
            "Reservations": [{"Instances": [instance]}],
            "Volumes": [{"VolumeId": "vol-1"}],
            "NetworkInterfaces": [{"NetworkInterfaceId": "eni-1"}],
        }

    @property
    def changes(self) -> list[tuple[str, dict[str, Any]]]:
        return [(action, more) for action, more in self.sent if not action.startswith("Describe")]


def machines(cloud: Cloud) -> Ec2Machines:
    clients, nobody = cast(Clients, cloud), cast(Launcher, None)
    observer = Observer(clients, OwnerId("me"), interval=0.0)
    home = Place("ec2", "1", "", "us-east-1")
    return Ec2Machines(clients, observer, nobody, owner=OwnerId("me"), home=home, now=lambda: NOW)


def refusing(code: str, message: str = "no", status: int = 400) -> Callable[[str], dict[str, Any] | None]:
    def answer(action: str) -> dict[str, Any] | None:
        if action.startswith("Describe"):
            return None
        told: Any = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        raise ClientError(told, action)

    return answer


async def test_hibernation_is_asked_for_only_where_it_was_configured() -> None:
    cloud = Cloud()
    await machines(cloud).stop(a_machine(hibernates=True), hibernate=True)
    await machines(cloud).stop(a_machine(hibernates=True))
    await machines(cloud).stop(a_machine(), hibernate=True)
    assert cloud.sent == [
        ("StopInstances", {"InstanceIds": ["i-1"], "Hibernate": True}),
        ("StopInstances", {"InstanceIds": ["i-1"]}),
        ("StopInstances", {"InstanceIds": ["i-1"]}),
    ]


async def test_a_machine_that_is_too_young_to_hibernate_is_asked_again() -> None:
    words = "Instance is not ready to hibernate yet, retry in a few minutes"
    cloud = Cloud(refusing("UnsupportedOperation", words))
    with pytest.raises(RuntimeUnavailable, match="could not hibernate i-1"):
        await machines(cloud).stop(a_machine(hibernates=True), hibernate=True)
    spot = Cloud(refusing("UnsupportedOperation", "You can't stop the Spot Instance 'i-1'"))
    with pytest.raises(RuntimeRejected, match="Spot"):
        await machines(spot).stop(a_machine())


async def test_a_start_without_capacity_says_so() -> None:
    cloud = Cloud(refusing("InsufficientInstanceCapacity", "none left", status=500))
    with pytest.raises(CapacityUnavailable, match="could not start i-1"):
        await machines(cloud).start(a_machine())


async def test_a_release_marks_everything_as_released_before_it_takes_our_tag_away() -> None:
    cloud = Cloud()
    await machines(cloud).release(a_machine())
    ids = ["i-1", "vol-1", "eni-1"]
    told = [{"Key": "ciab-released", "Value": "2026-01-01T12:00:00+00:00"}]
    assert cloud.changes == [
        (
            "ModifyInstanceAttribute",
            {"InstanceId": "i-1", "InstanceInitiatedShutdownBehavior": {"Value": "stop"}},
        ),
        ("CreateTags", {"Resources": ids, "Tags": told}),
        ("DeleteTags", {"Resources": ids, "Tags": [{"Key": "ciab-managed"}]}),
    ]
    for action, parameters in cloud.sent:
        if action in {"DescribeVolumes", "DescribeNetworkInterfaces"}:
            asked = {one["Name"]: one["Values"] for one in parameters["Filters"]}
            assert asked == {
                "tag:ciab-sandbox-id": ["box"],
                "tag:ciab-owner": ["me"],
                "tag:ciab-managed": ["true"],
            }


async def test_a_second_release_finishes_what_the_first_left() -> None:
    cloud = Cloud()
    cloud.tags, cloud.state = [], "running"  # its user has it already; its disk still carries our tag
    await machines(cloud).release(a_machine())
    assert [(action, more["Resources"]) for action, more in cloud.changes] == [
        ("CreateTags", ["vol-1", "eni-1"]),
        ("DeleteTags", ["vol-1", "eni-1"]),
    ]


@pytest.mark.parametrize("state", ["pending", "running", "stopping"])
async def test_only_a_stopped_machine_is_released(state: str) -> None:
    cloud = Cloud()
    cloud.state = state
    with pytest.raises(RuntimeUnavailable, match=f"it is {state}"):
        await machines(cloud).release(a_machine())
    assert cloud.changes == []


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
async def test_what_has_ended_has_nothing_to_be_released(state: str) -> None:
    cloud = Cloud()
    cloud.state = state
    await machines(cloud).release(a_machine())
    assert cloud.changes == []


async def test_what_is_not_visible_is_gone_only_when_it_is_old_enough() -> None:
    cloud = Cloud(lambda action: {"Reservations": []})
    with pytest.raises(RuntimeUnavailable, match="does not show it yet"):
        await machines(cloud).release(a_machine(launched_at=NOW - timedelta(minutes=4)))
    await machines(cloud).release(a_machine())
    assert cloud.changes == []


@pytest.mark.parametrize("action", ["ModifyInstanceAttribute", "CreateTags", "DeleteTags"])
async def test_a_release_that_is_cut_off_anywhere_is_an_error_to_try_again(action: str) -> None:
    def answer(asked: str) -> dict[str, Any] | None:
        if asked == action:
            raise TimeoutError
        return None

    with pytest.raises(RuntimeUnavailable, match="could not release i-1"):
        await machines(Cloud(answer)).release(a_machine())
