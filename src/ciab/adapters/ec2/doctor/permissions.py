"""Whether the credentials may do what CIAB will do: every action as a dry run, on things that do not exist.

EC2 looks at permissions before it looks at anything else, so any answer but a refusal of the permission
means that it is granted (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html,
DryRun). RunInstances has a check of its own.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ciab.adapters.ec2.doctor.checks import Answer, Check, Desk
from ciab.adapters.ec2.errors import FOREIGN, PERMISSION, Meaning, code_of, fault, meaning
from ciab.adapters.ec2.pages import pages
from ciab.core import tags
from ciab.core.finding import Finding

_NOBODY = "0" * 17
"""What EC2 gives to nothing."""


@dataclass(frozen=True, slots=True)
class Things:
    """An instance, a volume and an interface to ask about: none that exist, or some that are ours."""

    instance: str = f"i-{_NOBODY}"
    volume: str = f"vol-{_NOBODY}"
    interface: str = f"eni-{_NOBODY}"


_PAST_PERMISSIONS = frozenset({Meaning.REFUSED, Meaning.CAPACITY, Meaning.QUOTA})


@dataclass(frozen=True, slots=True)
class _Asked:
    denied: Sequence[str] = ()
    unclear: Sequence[str] = ()
    why: str = ""


async def permissions(desk: Desk) -> Answer[bool]:
    """Whether every action is allowed; those that are not are named."""
    reads, acts = dict(_reads()), dict(_acts(desk, Things()))
    check = Check("permissions", f"dry runs of {len(reads) + len(acts)} actions in {desk.region}")

    async def look() -> Answer[bool]:
        read, acted = await asyncio.gather(_ask(desk, reads), _ask(desk, acts))
        ours = await _ours(desk) if acted.denied else None
        if ours is not None:  # only now is it certain that the endpoint knows what a dry run is
            acted = await _ask(desk, {name: dict(_acts(desk, ours))[name] for name in acted.denied})
        return Answer(_judged(check, read, acted, sure=ours is not None))

    return await check.made(look())


def _reads() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for action in ("DescribeInstances", "DescribeVolumes", "DescribeNetworkInterfaces"):
        yield action, {"MaxResults": 5}
    yield "DescribeImages", {"Owners": ["self"]}
    yield "DescribeInstanceTypes", {"MaxResults": 5}


def _acts(desk: Desk, things: Things) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for action in ("StartInstances", "StopInstances", "TerminateInstances"):
        yield action, {"InstanceIds": [things.instance]}
    yield "GetConsoleOutput", {"InstanceId": things.instance}
    yield "DeleteVolume", {"VolumeId": things.volume}
    yield "DeleteNetworkInterface", {"NetworkInterfaceId": things.interface}
    if not desk.settings.terminate_on_delete:
        stays = {"InstanceInitiatedShutdownBehavior": {"Value": "stop"}}
        yield "ModifyInstanceAttribute", {"InstanceId": things.instance, **stays}
        released = [{"Key": tags.RELEASED, "Value": "a dry run"}]
        yield "CreateTags", {"Resources": [things.instance], "Tags": released}
        yield "DeleteTags", {"Resources": [things.instance], "Tags": [{"Key": tags.MANAGED}]}


async def _ask(desk: Desk, calls: Mapping[str, Mapping[str, Any]]) -> _Asked:
    """All of them at once."""
    told = await asyncio.gather(*(_error(desk, name, asked) for name, asked in calls.items()))
    errors = {name: error for name, error in zip(calls, told, strict=True) if error}
    denied = [name for name, error in errors.items() if code_of(error) in PERMISSION]
    unclear = {
        name: error
        for name, error in errors.items()
        if name not in denied and meaning(error) not in _PAST_PERMISSIONS
    }
    why = fault("ask", next(iter(unclear.values()))).message if unclear else ""
    return _Asked(denied, list(unclear), why)


async def _error(desk: Desk, action: str, parameters: Mapping[str, Any]) -> Exception | None:
    try:
        await desk.clients.ec2(desk.region, action, **parameters, DryRun=True)
    except FOREIGN as error:
        return error
    return None


async def _ours(desk: Desk) -> Things | None:
    """Something of CIAB's in the account, whichever installation's."""
    wanted = {f"tag:{tags.MANAGED}": [tags.TRUE], "instance-state-name": ["pending", "running", "stopped"]}
    try:
        async for answer in pages(desk.clients, desk.region, "DescribeInstances", wanted):
            for reservation in answer["Reservations"]:
                for one in reservation["Instances"]:
                    if things := _things_of(one):
                        return things
    except FOREIGN:
        return None
    return None


def _things_of(instance: Mapping[str, Any]) -> Things | None:
    disks = instance.get("BlockDeviceMappings", ())
    volumes = [disk["Ebs"]["VolumeId"] for disk in disks if "Ebs" in disk]
    interfaces = [face["NetworkInterfaceId"] for face in instance.get("NetworkInterfaces", ())]
    return Things(instance["InstanceId"], volumes[0], interfaces[0]) if volumes and interfaces else None


def _judged(check: Check, read: _Asked, acted: _Asked, *, sure: bool) -> Finding:
    certain = [*read.denied, *(acted.denied if sure else ())]
    if certain:
        return check.error(f"not allowed: {', '.join(certain)}", _allow([*read.denied, *acted.denied]))
    if acted.denied:
        named = ", ".join(acted.denied)
        return check.warning(
            f"not allowed for what does not exist: {named}; perhaps the policy wants the tag {tags.MANAGED}",
            f"ask again while there is a sandbox; where the policy asks for no tag, {_allow(acted.denied)}",
        )
    if unclear := [*read.unclear, *acted.unclear]:
        return check.warning(f"could not tell for {', '.join(unclear)}: {read.why or acted.why}", "try again")
    return check.ok("all are allowed")


def _allow(actions: Sequence[str]) -> str:
    statement = {"Effect": "Allow", "Action": [f"ec2:{action}" for action in actions], "Resource": "*"}
    return f"allow in IAM: {json.dumps(statement)}"
