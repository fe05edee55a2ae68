"""What a sweep is told: every page of three describes, by tags alone."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.remains import Ec2Remains
from ciab.core.errors import RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import Remain, RemainKind

BORN = datetime(2026, 1, 1, tzinfo=UTC)
OURS = [{"Key": "ciab-managed", "Value": "true"}, {"Key": "ciab-sandbox-id", "Value": "box"}]


def machine(ident: str, *more: dict[str, str]) -> dict[str, Any]:
    return {"InstanceId": ident, "State": {"Name": "running"}, "LaunchTime": BORN, "Tags": [*OURS, *more]}


def volume(ident: str, state: str = "available", *more: dict[str, str]) -> dict[str, Any]:
    return {"VolumeId": ident, "State": state, "CreateTime": BORN, "Tags": [*OURS, *more]}


def interface(ident: str, status: str = "available") -> dict[str, Any]:
    return {"NetworkInterfaceId": ident, "Status": status, "TagSet": OURS}


class Cloud:
    """Stands where `Clients` does. One thing a page; `refuses` is EC2's code and message for every delete."""

    def __init__(self, **things: list[dict[str, Any]]) -> None:
        self.things = things
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuses: tuple[str, str] | None = None

    async def ec2(self, region: str, action: str, **parameters: Any) -> dict[str, Any]:
        self.calls.append((action, parameters))
        if not action.startswith("Describe"):
            if self.refuses:
                code, message = self.refuses
                answer: Any = {"Error": {"Code": code, "Message": message}}
                raise ClientError(answer, action)
            return {}
        kind = {"DescribeInstances": "machines", "DescribeVolumes": "volumes"}.get(action, "interfaces")
        listed = self.things.get(kind, [])
        page = int(parameters.get("NextToken", 0))
        shown = listed[page : page + 1]
        answers = {
            "machines": {"Reservations": [{"Instances": shown}]},
            "volumes": {"Volumes": shown},
            "interfaces": {"NetworkInterfaces": shown},
        }
        more = {"NextToken": str(page + 1)} if page + 1 < len(listed) else {}
        return {**answers[kind], **more}


def remains(cloud: Cloud) -> Ec2Remains:
    return Ec2Remains(cast(Clients, cloud))


def a_remain(kind: RemainKind, ident: str) -> Remain:
    return Remain(kind, ident, "us-east-1", SandboxId("box"), "available", True, False, None)


async def test_a_look_reads_every_page_of_every_kind_and_asks_by_tags() -> None:
    cloud = Cloud(
        machines=[machine("i-1"), machine("i-2", {"Key": "ciab-keep", "Value": ""})],
        volumes=[volume("vol-1"), volume("vol-2", "in-use", {"Key": "ciab-build-id", "Value": "b-1"})],
        interfaces=[interface("eni-1", "in-use"), interface("eni-2")],
    )
    found = await remains(cloud).look("us-east-1", OwnerId("me"))
    assert [(one.id, one.free, one.keep, one.build_id) for one in found] == [
        ("i-1", True, False, None),
        ("i-2", True, True, None),
        ("vol-1", True, False, None),
        ("vol-2", False, False, "b-1"),
        ("eni-1", False, False, None),
        ("eni-2", True, False, None),
    ]
    assert {one.sandbox_id for one in found} == {"box"}
    assert [one.born_at for one in found] == [BORN] * 4 + [None] * 2
    for action, parameters in cloud.calls:
        asked = {one["Name"]: one["Values"] for one in parameters["Filters"]}
        assert asked["tag:ciab-managed"] == ["true"]
        assert asked["tag:ciab-owner"] == ["me"]
        assert ("instance-state-name" in asked) == (action == "DescribeInstances")
        assert not {"InstanceIds", "VolumeIds", "NetworkInterfaceIds"} & parameters.keys()
    assert len(cloud.calls) == 6


async def test_what_has_no_sandboxs_id_is_told_all_the_same() -> None:
    bare = {**volume("vol-1"), "Tags": OURS[:1]}
    (found,) = await remains(Cloud(volumes=[bare])).look("us-east-1", OwnerId("me"))
    assert found.sandbox_id == ""


async def test_a_second_look_is_for_that_thing_while_it_is_managed() -> None:
    cloud = Cloud(volumes=[volume("vol-1", "in-use")])
    seen = await remains(cloud).again(a_remain(RemainKind.VOLUME, "vol-1"))
    assert seen
    assert not seen.free
    ((_, parameters),) = cloud.calls
    asked = {one["Name"]: one["Values"] for one in parameters["Filters"]}
    assert asked == {"tag:ciab-managed": ["true"], "volume-id": ["vol-1"]}
    assert await remains(Cloud()).again(a_remain(RemainKind.VOLUME, "vol-1")) is None


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (RemainKind.MACHINE, ("TerminateInstances", {"InstanceIds": ["x-1"]})),
        (RemainKind.VOLUME, ("DeleteVolume", {"VolumeId": "x-1"})),
        (RemainKind.INTERFACE, ("DeleteNetworkInterface", {"NetworkInterfaceId": "x-1"})),
    ],
)
async def test_each_kind_is_ended_in_its_way(kind: RemainKind, call: tuple[str, dict[str, Any]]) -> None:
    cloud = Cloud()
    await remains(cloud).end(a_remain(kind, "x-1"))
    assert cloud.calls == [call]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (RemainKind.MACHINE, "InvalidInstanceID.NotFound"),
        (RemainKind.VOLUME, "InvalidVolume.NotFound"),
        (RemainKind.INTERFACE, "InvalidNetworkInterfaceID.NotFound"),
    ],
)
async def test_what_is_gone_is_no_error(kind: RemainKind, code: str) -> None:
    cloud = Cloud()
    cloud.refuses = (code, "does not exist")
    await remains(cloud).end(a_remain(kind, "x-1"))
    assert len(cloud.calls) == 1


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        (RemainKind.VOLUME, "VolumeInUse", "Volume vol-1 is currently attached to i-1"),
        (RemainKind.INTERFACE, "InvalidNetworkInterface.InUse", "no"),
        (RemainKind.INTERFACE, "InvalidParameterValue", "Network interface 'eni-1' is currently in use."),
    ],
)
async def test_what_is_in_use_is_for_later(kind: RemainKind, code: str, message: str) -> None:
    cloud = Cloud()
    cloud.refuses = (code, message)
    with pytest.raises(RuntimeUnavailable, match="in use"):
        await remains(cloud).end(a_remain(kind, "x-1"))


async def test_a_protected_machine_is_refused_with_the_way_out() -> None:
    cloud = Cloud()
    cloud.refuses = ("OperationNotPermitted", "may not be terminated")
    with pytest.raises(RuntimeRejected, match="may not be terminated") as caught:
        await remains(cloud).end(a_remain(RemainKind.MACHINE, "i-1"))
    assert "protection" in (caught.value.hint or "")
