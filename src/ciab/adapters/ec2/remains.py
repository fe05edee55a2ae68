"""The port `Remains` on EC2: what carries our tags and may cost money, asked for by those tags alone."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import NOT_FOUND, code_of, translated
from ciab.adapters.ec2.pages import Filters, pages
from ciab.core import tags
from ciab.core.errors import RuntimeUnavailable
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import Remain, RemainKind

_MANAGED: Filters = {f"tag:{tags.MANAGED}": [tags.TRUE]}
_IN_USE = frozenset({"VolumeInUse", "InvalidNetworkInterface.InUse"})


@dataclass(frozen=True, slots=True)
class _Way:
    """How one kind of thing is asked for, read and ended."""

    describe: str
    by_id: str
    alive: Filters
    end: str
    end_by: str


_WAYS = {
    RemainKind.MACHINE: _Way(
        "DescribeInstances",
        "instance-id",
        {"instance-state-name": ["pending", "running", "stopping", "stopped"]},
        "TerminateInstances",
        "InstanceIds",
    ),
    RemainKind.VOLUME: _Way("DescribeVolumes", "volume-id", {}, "DeleteVolume", "VolumeId"),
    RemainKind.INTERFACE: _Way(
        "DescribeNetworkInterfaces",
        "network-interface-id",
        {},
        "DeleteNetworkInterface",
        "NetworkInterfaceId",
    ),
}


class Ec2Remains:
    """See `Remains`. What was released carries no `ciab-managed` any more, and is never seen here."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def look(self, region: str, owner: OwnerId) -> Sequence[Remain]:
        """See `Remains.look`. What carries no sandbox's id has the empty one."""
        ours = {**_MANAGED, f"tag:{tags.OWNER}": [str(owner)]}
        with translated(f"look for what is left in {region}"):
            return [remain for kind in RemainKind async for remain in self._seen(kind, region, ours)]

    async def again(self, remain: Remain) -> Remain | None:
        """See `Remains.again`."""
        asked = {**_MANAGED, _WAYS[remain.kind].by_id: [remain.id]}
        with translated(f"look at {remain.id} in {remain.region}"):
            seen = [one async for one in self._seen(remain.kind, remain.region, asked)]
        return seen[0] if seen else None

    async def end(self, remain: Remain) -> None:
        """See `Remains.end`. Raises RuntimeUnavailable while a volume or interface is attached."""
        way = _WAYS[remain.kind]
        machine = remain.kind is RemainKind.MACHINE
        named: Any = [remain.id] if machine else remain.id
        with translated(f"end {remain.id} in {remain.region}"):
            try:
                await self._clients.ec2(remain.region, way.end, **{way.end_by: named})
            except ClientError as error:
                if code_of(error) in NOT_FOUND:
                    return
                # of an interface EC2 also says so under a code that means anything
                if code_of(error) not in _IN_USE and "in use" not in str(error):
                    raise
                raise RuntimeUnavailable(
                    f"could not delete {remain.id} in {remain.region}: it is in use",
                    hint="it is tried again; detach it if it goes on",
                ) from error

    async def _seen(self, kind: RemainKind, region: str, filters: Filters) -> AsyncIterator[Remain]:
        way = _WAYS[kind]
        async for answer in pages(self._clients, region, way.describe, {**way.alive, **filters}):
            for found in _READERS[kind](answer, region):
                yield found


def _machines(answer: Mapping[str, Any], region: str) -> Sequence[Remain]:
    return [
        replace(
            _remain(one, RemainKind.MACHINE, one["InstanceId"], one["State"]["Name"], region),
            free=True,
            born_at=one["LaunchTime"].astimezone(UTC),
        )
        for reservation in answer["Reservations"]
        for one in reservation["Instances"]
    ]


def _volumes(answer: Mapping[str, Any], region: str) -> Sequence[Remain]:
    return [
        replace(
            _remain(one, RemainKind.VOLUME, one["VolumeId"], one["State"], region),
            born_at=one["CreateTime"].astimezone(UTC),
        )
        for one in answer["Volumes"]
    ]


def _interfaces(answer: Mapping[str, Any], region: str) -> Sequence[Remain]:
    return [
        _remain(one, RemainKind.INTERFACE, one["NetworkInterfaceId"], one["Status"], region)
        for one in answer["NetworkInterfaces"]
    ]


_READERS = {
    RemainKind.MACHINE: _machines,
    RemainKind.VOLUME: _volumes,
    RemainKind.INTERFACE: _interfaces,
}


def _remain(one: Mapping[str, Any], kind: RemainKind, ident: str, state: str, region: str) -> Remain:
    # interfaces have their tags under another name
    worn = {tag["Key"]: tag["Value"] for tag in one.get("Tags") or one.get("TagSet") or ()}
    return Remain(
        kind=kind,
        id=ident,
        region=region,
        sandbox_id=SandboxId(worn.get(tags.SANDBOX_ID, "")),
        state=state,
        free=state == "available",
        keep=tags.KEEP in worn,
        born_at=None,
        build_id=worn.get(tags.BUILD_ID),
    )
