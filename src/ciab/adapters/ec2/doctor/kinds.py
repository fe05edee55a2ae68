"""What machines are: their type, their image, and how many of them the account may have."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ciab.adapters.ec2.doctor.checks import Answer, Check, Desk
from ciab.adapters.ec2.errors import FOREIGN, fault, translated
from ciab.adapters.ec2.images import Ec2Images
from ciab.adapters.ec2.pages import pages
from ciab.core.finding import Finding
from ciab.core.machine import MachineImage
from ciab.core.spec import Ec2Overrides, Spec

Kind = Mapping[str, Any]
"""EC2's InstanceTypeInfo."""

_QUOTAS = {
    "f": "L-74FC7D96",
    "g": "L-DB2E81BA",
    "vt": "L-DB2E81BA",
    "hpc": "L-F7808C92",
    "inf": "L-1945791B",
    "p": "L-417A185B",
    "trn": "L-2C3B7624",
    "x": "L-7295265B",
    "dl": "L-6E869C2A",
}
"""Quotas of vCPUs of running on-demand instances, by what a type's name begins with."""
_STANDARD = "L-1216C47A"
_STANDARD_FAMILIES = frozenset("acdhimrtz")


async def instance_type(desk: Desk) -> Answer[Kind]:
    """Whether the region has the configured types; the first of them."""
    names = list(dict.fromkeys([desk.settings.instance_type, *desk.settings.instance_types]))
    check = Check("instance type", f"DescribeInstanceTypes {', '.join(names)} in {desk.region}")

    async def look() -> Answer[Kind]:
        with translated(f"look up {', '.join(names)} in {desk.region}"):
            answer = await desk.clients.ec2(desk.region, "DescribeInstanceTypes", InstanceTypes=names)
        found = {kind["InstanceType"]: kind for kind in answer["InstanceTypes"]}
        if missing := [name for name in names if name not in found]:
            return Answer(check.error(f"{desk.region} has no type {missing[0]}", "check instance_type"))
        wanting = [wrong for name in names for wrong in _wanting(found[name], desk)]
        if wanting:
            hint = "choose another type, or change what stands in [runtime.ec2] about it"
            return Answer(check.error("; ".join(wanting), hint))
        return Answer(check.ok("; ".join(_words(found[name]) for name in names)), found[names[0]])

    return await check.made(look())


def _wanting(kind: Kind, desk: Desk) -> Sequence[str]:
    """What is asked of the type and it cannot do."""
    name, memory_mib = kind["InstanceType"], int(kind["MemoryInfo"]["SizeInMiB"])
    wrong = []
    if desk.settings.spot and "spot" not in kind.get("SupportedUsageClasses", ("spot",)):
        wrong.append(f"{name} cannot be had as spot (spot = true)")
    if desk.settings.hibernate_on_pause:
        if not kind.get("HibernationSupported"):
            wrong.append(f"{name} cannot hibernate (hibernate_on_pause = true)")
        elif desk.settings.root_volume_size_gb * 1024 <= memory_mib:
            wrong.append(
                f"a root volume of {desk.settings.root_volume_size_gb} GiB cannot hold the memory of {name}, "
                f"{_gib(memory_mib)}, too (hibernate_on_pause = true)"
            )
    return wrong


def _words(kind: Kind) -> str:
    able = "/".join(kind["ProcessorInfo"]["SupportedArchitectures"])
    return (
        f"{kind['InstanceType']}: {_vcpus(kind)} vCPUs, {_gib(int(kind['MemoryInfo']['SizeInMiB']))}, {able}"
    )


def _gib(mib: int) -> str:
    return f"{mib / 1024:g} GiB"


def _vcpus(kind: Kind) -> int:
    return int(kind["VCpuInfo"]["DefaultVCpus"])


async def image(desk: Desk, region: str, types: Answer[Kind], name: str) -> Answer[MachineImage]:
    """Whether the region has an image for every type; the one for the first."""
    asked = desk.settings.within(region).default_ami or "the newest Ubuntu 22.04"
    check = Check(name, f"DescribeImages: {asked} in {region}")
    if missing := check.depends(types):
        return Answer(missing)

    async def look() -> Answer[MachineImage]:
        images = Ec2Images(desk.clients, desk.settings, lambda: datetime.now(UTC))
        place = replace(desk.place, region=region)
        names = dict.fromkeys([desk.settings.instance_type, *desk.settings.instance_types])
        found = [await images.choose(_wanting_type(kind), place) for kind in names]
        told = {one.id: f"{one.id} ({_described(one)})" for one in found}
        return Answer(check.ok(", ".join(told.values())), found[0])

    return await check.made(look())


def _wanting_type(kind: str) -> Spec:
    return Spec("command", ec2=Ec2Overrides(instance_type=kind))


def _described(image: MachineImage) -> str:
    return f"{image.name}, {image.architecture}" if image.name else image.architecture


async def quota(desk: Desk, types: Answer[Kind]) -> Answer[float]:
    """Whether the account may have another on-demand machine of the first type."""
    code = quota_of(desk.settings.instance_type)
    check = Check("quota", f"GetServiceQuota {code or 'of no known code'} (vCPUs) in {desk.region}")
    if desk.backend == "local":
        return Answer(check.skipped("the local region has no quotas"))
    if code is None:
        return Answer(check.skipped(f"no quota is known that counts {desk.settings.instance_type}"))
    if missing := check.depends(types):
        return Answer(missing)
    needed = _vcpus(types.value) if types.value else 0
    return await check.made(_compared(desk, check, code, needed))


async def _compared(desk: Desk, check: Check, code: str, needed: int) -> Answer[float]:
    try:
        most = await desk.clients.quota(desk.region, code)
    except FOREIGN as error:
        # another endpoint has none, and a role that may launch need not be allowed to read quotas
        told = fault(f"read the quota {code}", error)
        return Answer(check.skipped(told.message, told.hint))
    with translated(f"count the running instances in {desk.region}"):
        used = await _used(desk, code)
    return Answer(_judged(check, most, used, needed, code), most)


def _judged(check: Check, most: float, used: int, needed: int, code: str) -> Finding:
    told = f"{used} of {most:g} vCPUs are in use, and a machine needs {needed}"
    more = f"ask for more at Service Quotas, Amazon EC2, {code}"
    if most < needed:
        return check.error(told, more)
    if used + needed > most:
        return check.warning(told, f"end what is not needed, or {more}")
    return check.ok(told)


async def _used(desk: Desk, code: str) -> int:
    """vCPUs of the running on-demand instances that count against the quota, whoever's they are."""
    used = 0
    running = {"instance-state-name": ["pending", "running"]}
    async for answer in pages(desk.clients, desk.region, "DescribeInstances", running):
        for reservation in answer["Reservations"]:
            for one in reservation["Instances"]:
                if not one.get("InstanceLifecycle") and quota_of(one["InstanceType"]) == code:
                    options = one.get("CpuOptions", {})
                    used += int(options.get("CoreCount", 0)) * int(options.get("ThreadsPerCore", 1))
    return used


def quota_of(kind: str) -> str | None:
    """The code of the quota that counts a type's vCPUs when it runs on demand; None: there is none, or it
    is not known here."""
    letters = re.match("[a-z]*", kind)  # `t` of t3.medium, `inf` of inf2.xlarge
    family = letters[0] if letters else ""
    if family == "mac":  # they run on dedicated hosts, which have quotas of their own
        return None
    return _QUOTAS.get(family) or (_STANDARD if family[:1] in _STANDARD_FAMILIES else None)
