"""All checks of EC2: whose the credentials are first, then everything at once as far as it can be."""

import asyncio
from collections.abc import Callable, Sequence

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.doctor.checks import Answer, Check, Desk
from ciab.adapters.ec2.doctor.kinds import Kind, image, instance_type, quota
from ciab.adapters.ec2.doctor.launching import NamedPair, key_pair, launch
from ciab.adapters.ec2.doctor.network import groups, subnets
from ciab.adapters.ec2.doctor.permissions import permissions
from ciab.adapters.ec2.errors import translated
from ciab.adapters.ec2.limits import Limits
from ciab.adapters.ec2.settings import Backend, Ec2Settings
from ciab.core.finding import Finding
from ciab.core.machine import KeyPair, Place

EC2_CHECKS = (
    "credentials",
    "permissions",
    "instance type",
    "image",
    "subnet",
    "security group",
    "quota",
    "key pair",
    "launch",
)
"""In this order; other configured regions have some of them of their own."""


async def examine_ec2(
    settings: Ec2Settings, backend: Backend, endpoint_url: str, mint: Callable[[], KeyPair]
) -> tuple[Sequence[Finding], NamedPair | None]:
    """What was found, and the configured key pair as AWS has it, None when that could not be told.

    `endpoint_url` is where to call, empty for AWS; `mint` makes keys, for a launch that is never done.
    """
    async with Clients(backend, endpoint_url, Limits()) as clients:
        who = await _credentials(clients, settings, backend)
        if who.value is None:
            left = [Check(name, "").depends(who) for name in EC2_CHECKS[1:]]
            return [who.finding, *(finding for finding in left if finding)], None
        place = Place(backend, who.value, settings.endpoint_url, settings.region)
        findings, pair = await _all(Desk(clients, settings, backend, place), mint)
        return [who.finding, *findings], pair


async def _credentials(clients: Clients, settings: Ec2Settings, backend: Backend) -> Answer[str]:
    check = Check("credentials", f"GetCallerIdentity in {settings.region}")

    async def look() -> Answer[str]:
        with translated("ask AWS whose credentials these are"):
            account, arn = await clients.identity(settings.region)
        if backend == "local":
            return Answer(check.ok("the local region asks for none"), account)
        return Answer(check.ok(f"account {account}, {arn}"), account)

    return await check.made(look())


async def _all(desk: Desk, mint: Callable[[], KeyPair]) -> tuple[Sequence[Finding], NamedPair | None]:
    async with asyncio.TaskGroup() as group:
        may = group.create_task(permissions(desk))
        here = group.create_task(_home(desk, mint))
        further = [name for name in desk.settings.regions if name != desk.region]
        others = [group.create_task(_elsewhere(desk, name)) for name in further]
    found, pair = here.result()
    return [may.result().finding, *found, *(one for other in others for one in other.result())], pair


async def _home(desk: Desk, mint: Callable[[], KeyPair]) -> tuple[Sequence[Finding], NamedPair | None]:
    async with asyncio.TaskGroup() as group:
        pairs = group.create_task(key_pair(desk))
        nets = group.create_task(_network(desk, desk.region, ""))
        types = await instance_type(desk)
        share = group.create_task(quota(desk, types))
        system = group.create_task(image(desk, desk.region, types, "image"))
    subnet, allowed = nets.result()
    would = await launch(desk, system.result(), (types, subnet, allowed, pairs.result()), mint)
    network = subnet.finding, allowed.finding
    rest = share.result().finding, pairs.result().finding, would.finding
    findings = [types.finding, system.result().finding, *network, *rest]
    return findings, pairs.result().value


async def _network(desk: Desk, region: str, suffix: str) -> tuple[Answer[object], Answer[object]]:
    found = await subnets(desk, region, f"subnet{suffix}")
    return found, await groups(desk, region, found, f"security group{suffix}")


async def _elsewhere(desk: Desk, region: str) -> Sequence[Finding]:
    """What belongs to another configured region."""
    suffix = f" of {region}"
    # its types are looked up there with the image, which must fit them
    known: Answer[Kind] = Answer(Check("instance type", "").ok(""), {})
    async with asyncio.TaskGroup() as group:
        system = group.create_task(image(desk, region, known, f"image{suffix}"))
        nets = group.create_task(_network(desk, region, suffix))
    return [system.result().finding, *(answer.finding for answer in nets.result())]
