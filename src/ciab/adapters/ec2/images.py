"""What machines boot from: the image that was named, or the newest stock Ubuntu."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import FOREIGN, code_of, translated
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.errors import RuntimeRejected
from ciab.core.machine import MachineImage, Place
from ciab.core.spec import Spec

log = logging.getLogger(__name__)

CANONICAL = "099720109477"
"""Canonical's account. Names of images are anybody's to choose: this owner is the security control."""

Answer = TypeVar("Answer")

_PARAMETER = "/aws/service/canonical/ubuntu/server/22.04/stable/current/{}/hvm/ebs-gp2/ami-id"
_NAMES = "ubuntu/images/hvm-ssd*/ubuntu-jammy-22.04-{}-server-*"
_UBUNTU = {"x86_64": "amd64", "arm64": "arm64"}
_FRESH = timedelta(hours=1)
"""How long an answer is used again: images can be taken away, and newer ones come."""


class Ec2Images:
    """The port `Images`. Answers are kept for an hour, and asked for once however many ask."""

    def __init__(self, clients: Clients, settings: Ec2Settings, now: Callable[[], datetime]) -> None:
        self._clients = clients
        self._settings = settings
        self._now = now
        self._kept: dict[tuple[str, ...], tuple[datetime, Any]] = {}
        self._asking: dict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def choose(self, spec: Spec, place: Place) -> MachineImage:
        """See `Images.choose`. Raises RuntimeRejected too when image and type differ in architecture."""
        region = place.region
        instance_type = spec.ec2.instance_type or self._settings.instance_type
        architectures = await self._once(
            ("type", region, instance_type), lambda: self._architectures(region, instance_type)
        )
        named = spec.image or spec.ec2.ami or self._settings.within(region).default_ami
        if not named:
            for architecture in architectures:
                if architecture in _UBUNTU:
                    return await self._ubuntu(region, architecture)
            raise RuntimeRejected(
                f"there is no stock Ubuntu for {instance_type} ({', '.join(architectures)})",
                hint="name an image with --image or default_ami",
            )
        image = await self._once(("image", region, named), lambda: self._named(region, named))
        if image.architecture not in architectures:
            raise RuntimeRejected(
                f"image {named} is for {image.architecture}, but {instance_type} is "
                f"{' or '.join(architectures)}",
                hint="choose another image or another type",
            )
        return image

    async def _ubuntu(self, region: str, architecture: str) -> MachineImage:
        return await self._once(("ubuntu", region, architecture), lambda: self._stock(region, architecture))

    async def _once(self, key: tuple[str, ...], ask: Callable[[], Awaitable[Answer]]) -> Answer:
        async with self._asking[key]:
            when, answer = self._kept.get(key, (None, None))
            if when is None or self._now() - when > _FRESH:
                answer = await ask()
                self._kept[key] = (self._now(), answer)
            return cast(Answer, answer)

    async def _architectures(self, region: str, instance_type: str) -> tuple[str, ...]:
        with translated(f"look up the type {instance_type} in {region}"):
            answer = await self._clients.ec2(region, "DescribeInstanceTypes", InstanceTypes=[instance_type])
        found = [kind for kind in answer["InstanceTypes"] if kind["InstanceType"] == instance_type]
        if not found:
            raise RuntimeRejected(f"{region} has no type {instance_type}", hint="check instance_type")
        return tuple(found[0]["ProcessorInfo"]["SupportedArchitectures"])

    async def _named(self, region: str, image_id: str) -> MachineImage:
        with translated(f"look up the image {image_id} in {region}"):
            answer = await self._clients.ec2(region, "DescribeImages", ImageIds=[image_id])
        if not answer["Images"]:
            raise RuntimeRejected(
                f"image {image_id} does not exist in {region}",
                hint="check its id, its region and that it is shared with this account",
            )
        return _image(answer["Images"][0])

    async def _stock(self, region: str, architecture: str) -> MachineImage:
        word = _UBUNTU[architecture]
        with translated(f"find the newest Ubuntu 22.04 for {architecture} in {region}"):
            asked: dict[str, Any] = {"Owners": [CANONICAL]}
            if published := await self._published(region, _PARAMETER.format(word)):
                asked["ImageIds"] = [published]
            else:
                asked["Filters"] = [
                    {"Name": "name", "Values": [_NAMES.format(word)]},
                    {"Name": "state", "Values": ["available"]},
                ]
            answer = await self._clients.ec2(region, "DescribeImages", **asked)
        if not answer["Images"]:
            raise RuntimeRejected(
                f"found no Ubuntu 22.04 of Canonical for {architecture} in {region}",
                hint="name an image with --image or default_ami",
            )
        return _image(max(answer["Images"], key=lambda image: str(image.get("CreationDate", ""))))

    async def _published(self, region: str, parameter: str) -> str | None:
        # SSM is the quick way, not the only one: some partitions lack the parameter, another endpoint may
        # have no SSM, and a role that may use EC2 need not be allowed to use SSM.
        try:
            return await self._clients.parameter(region, parameter)
        except FOREIGN as error:
            log.info(
                "no image by SSM, looking by owner",
                extra={"action": "image_parameter_missing", "region": region, "code": code_of(error)},
            )
            return None


def _image(found: Mapping[str, Any]) -> MachineImage:
    state = str(found.get("State", "available"))
    if state != "available":
        raise RuntimeRejected(
            f"image {found['ImageId']} is {state}", hint="wait for it, or choose another one"
        )
    return MachineImage(
        id=str(found["ImageId"]),
        root_device=str(found.get("RootDeviceName") or "/dev/sda1"),
        architecture=str(found.get("Architecture") or "x86_64"),
        name=str(found.get("Name") or ""),
    )
