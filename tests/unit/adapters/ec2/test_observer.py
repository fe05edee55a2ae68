"""One describe for all who ask, never one that is older than a question."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import EndpointConnectionError

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.observer import Observer
from ciab.core.errors import RuntimeUnavailable
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import MachineState


def instance(number: int, state: str = "running", **more: Any) -> dict[str, Any]:
    return {
        "InstanceId": f"i-{number}",
        "State": {"Name": state},
        "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC),
        "Tags": [
            {"Key": "ciab-sandbox-id", "Value": f"box-{number}"},
            {"Key": "ciab-managed", "Value": "true"},
        ],
        **more,
    }


class Region:
    """Stands where `Clients` does: answers in pages, each call held until it is let go."""

    def __init__(self, *pages: list[dict[str, Any]]) -> None:
        self.pages = list(pages) or [[]]
        self.calls: list[dict[str, Any]] = []
        self.arrived = asyncio.Semaphore(0)
        self.free = asyncio.Event()
        self.free.set()
        self.down = False

    async def ec2(self, region: str, action: str, **parameters: Any) -> dict[str, Any]:
        assert action == "DescribeInstances"
        self.calls.append(parameters)
        self.arrived.release()
        await self.free.wait()
        if self.down:
            raise EndpointConnectionError(endpoint_url="https://ec2")
        page = int(parameters.get("NextToken", "0"))
        more = {"NextToken": str(page + 1)} if page + 1 < len(self.pages) else {}
        return {"Reservations": [{"Instances": self.pages[page]}], **more}


@pytest.fixture
def region() -> Region:
    return Region([instance(1)])


@pytest.fixture
async def observer(region: Region) -> AsyncIterator[Observer]:
    async with Observer(cast(Clients, region), OwnerId("owner"), interval=0.0) as opened:
        yield opened


async def test_many_who_ask_together_share_one_describe(observer: Observer, region: Region) -> None:
    views = await asyncio.gather(*(observer.view("us-east-1") for _ in range(50)))
    assert len(region.calls) == 1
    assert all(view[SandboxId("box-1")][0].state is MachineState.RUNNING for view in views)


async def test_a_describe_that_began_before_the_question_does_not_answer_it(
    observer: Observer, region: Region
) -> None:
    region.free.clear()
    first = asyncio.create_task(observer.view("us-east-1"))
    await region.arrived.acquire()
    second = asyncio.create_task(observer.view("us-east-1"))
    await asyncio.sleep(0)
    region.free.set()
    await asyncio.gather(first, second)
    assert len(region.calls) == 2


async def test_it_asks_by_owner_and_reads_every_page() -> None:
    region = Region([instance(1)], [], [instance(2, "terminated"), instance(3)])
    async with Observer(cast(Clients, region), OwnerId("owner"), interval=0.0) as observer:
        view = await observer.view("us-east-1")
    assert sorted(view) == ["box-1", "box-2", "box-3"]
    assert view[SandboxId("box-2")][0].state is MachineState.ENDED
    assert len(region.calls) == 3
    for call in region.calls:
        assert call["Filters"] == [{"Name": "tag:ciab-owner", "Values": ["owner"]}]
        assert call["MaxResults"] == 200
        assert "InstanceIds" not in call


async def test_a_fault_reaches_everybody_who_asked_and_the_next_question_is_asked_anew(
    observer: Observer, region: Region
) -> None:
    region.down = True
    found = await asyncio.gather(*(observer.view("us-east-1") for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [RuntimeUnavailable] * 3
    assert len({id(one) for one in found}) == 3
    region.down = False
    assert SandboxId("box-1") in await observer.view("us-east-1")


async def test_who_stops_asking_stops_nobody_else(observer: Observer, region: Region) -> None:
    region.free.clear()
    leaving, staying = (asyncio.create_task(observer.view("us-east-1")) for _ in range(2))
    await region.arrived.acquire()
    leaving.cancel()
    region.free.set()
    assert SandboxId("box-1") in await staying


async def test_the_end_frees_everybody_who_waits() -> None:
    region = Region([])
    region.free.clear()
    observer = Observer(cast(Clients, region), OwnerId("owner"), interval=0.0)
    async with observer:
        waiting = [asyncio.create_task(observer.view("us-east-1"))]
        await region.arrived.acquire()
        waiting.append(asyncio.create_task(observer.view("us-east-1")))
        await asyncio.sleep(0)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [RuntimeUnavailable] * 2
    with pytest.raises(RuntimeUnavailable):
        await observer.view("us-east-1")


async def test_describes_keep_their_distance_while_somebody_asks() -> None:
    region = Region([])
    async with Observer(cast(Clients, region), OwnerId("owner"), interval=0.1) as observer:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(4):
            await observer.view("us-east-1")
        assert loop.time() - began >= 0.3
    assert len(region.calls) == 4


async def test_reasons_and_missing_facts_are_read() -> None:
    why = {"Message": "Client.VolumeLimitExceeded: Volume limit exceeded"}
    region = Region([instance(1, "terminated", StateReason=why), {**instance(2), "Tags": []}])
    async with Observer(cast(Clients, region), OwnerId("owner"), interval=0.0) as observer:
        view = await observer.view("us-east-1")
    (machine,) = view[SandboxId("box-1")]
    assert machine.reason == why["Message"]
    assert (machine.public_ip, machine.private_ip) == (None, None)
    assert list(view) == ["box-1"]
