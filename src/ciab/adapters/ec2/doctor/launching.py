"""The launch itself, as a dry run of the request that a sandbox's launch sends; and its key pair."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ciab.adapters.ec2.doctor.checks import Answer, Check, Desk
from ciab.adapters.ec2.errors import FOREIGN, Meaning, code_of, fault, meaning, translated
from ciab.adapters.ec2.request import Candidate, candidates, run_instances
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import KeyPair, LaunchOrder, Login, MachineImage, SandboxKeys, Site
from ciab.core.spec import Spec

SPEC = Spec("command")


@dataclass(frozen=True, slots=True)
class NamedPair:
    """The configured key pair as AWS has it. Both are empty where none is configured, the public line also
    where AWS does not tell it."""

    name: str = ""
    public: str = ""


async def key_pair(desk: Desk) -> Answer[NamedPair]:
    """Whether AWS has the key pair that is configured."""
    name = desk.settings.key_pair_name
    check = Check("key pair", f"DescribeKeyPairs {name} in {desk.region}" if name else "key_pair_name")
    if not name:
        return Answer(check.ok("none is configured: each sandbox gets a key of its own"), NamedPair())

    async def look() -> Answer[NamedPair]:
        asked: dict[str, Any] = {"KeyNames": [name], "IncludePublicKey": True}
        with translated(f"look up the key pair {name} in {desk.region}"):
            found = (await desk.clients.ec2(desk.region, "DescribeKeyPairs", **asked))["KeyPairs"]
        if not found:
            return Answer(check.error(f"{desk.region} has no key pair {name}", "check key_pair_name"))
        public = str(found[0].get("PublicKey", ""))
        return Answer(check.ok(f"{name} exists"), NamedPair(name, public))

    return await check.made(look())


async def launch(
    desk: Desk,
    image: Answer[MachineImage],
    others: Sequence[Answer[object]],
    mint: Callable[[], KeyPair],
) -> Answer[bool]:
    """Whether EC2 would launch a machine, with the tags, disk, network and options of a real launch."""
    candidate = next(candidates(SPEC, desk.settings, desk.region))
    check = Check("launch", f"RunInstances (dry run) of {candidate}")
    # what we merely may not look at is no reason not to ask
    wrong = [answer for answer in others if answer.finding.status == "error"]
    if (missing := check.depends(image, *wrong)) or image.value is None:
        return Answer(missing or check.skipped("there is no image"))
    return await check.made(_dry_run(desk, check, candidate, _order(desk, image.value, mint(), mint())))


def _order(desk: Desk, image: MachineImage, user: KeyPair, host: KeyPair) -> LaunchOrder:
    settings = desk.settings
    login = Login(
        settings.ssh_user, settings.port(desk.backend), settings.connect_address, settings.key_pair_name
    )
    site, keys = Site(desk.place, login), SandboxKeys(user, host)
    return LaunchOrder(SandboxId(str(uuid.uuid4())), "doctor", SPEC, site, image, keys, user.public)


async def _dry_run(desk: Desk, check: Check, candidate: Candidate, order: LaunchOrder) -> Answer[bool]:
    request = run_instances(order, desk.settings, OwnerId(str(uuid.uuid4())), candidate, str(uuid.uuid4()))
    try:
        answer = await desk.clients.ec2(desk.region, "RunInstances", **request, DryRun=True)
    except FOREIGN as error:
        if code_of(error) == "DryRunOperation":
            return Answer(check.ok("it would be launched"), True)
        told = fault("launch a machine (as a dry run)", error)
        if meaning(error) in {Meaning.THROTTLED, Meaning.UNSURE}:
            return Answer(check.warning(told.message, told.hint))
        return Answer(check.error(told.message, told.hint or "change what it names, in [runtime.ec2]"))
    return await _taken_back(desk, check, str(answer["Instances"][0]["InstanceId"]))


async def _taken_back(desk: Desk, check: Check, instance: str) -> Answer[bool]:
    """AWS never launches in a dry run; some that speak its language do."""
    with translated(f"terminate {instance}, which was launched in spite of DryRun"):
        await desk.clients.ec2(desk.region, "TerminateInstances", InstanceIds=[instance])
    return Answer(
        check.error(
            f"the endpoint launched {instance} although only a dry run was asked for; it was terminated",
            "do not trust this endpoint_url with anything that costs money",
        )
    )
