"""Images in memory."""

import asyncio
from collections.abc import Collection, Mapping

from ciab.core.errors import CiabError, RuntimeRejected
from ciab.core.machine import MachineImage, Place
from ciab.core.spec import Spec


class FakeImages:
    """Images: the one that was named, else a stock one. `missing` do not exist."""

    def __init__(
        self, *, missing: Collection[str] = (), fail_next: Mapping[str, CiabError] | None = None
    ) -> None:
        self.missing = set(missing)
        self.fail_next: dict[str, CiabError] = dict(fail_next or {})

    async def choose(self, spec: Spec, place: Place) -> MachineImage:
        """As the port has it."""
        await asyncio.sleep(0)
        if fault := self.fail_next.pop("choose", None):
            raise fault
        image = spec.image or spec.ec2.ami or "ami-00000000000000001"
        if image in self.missing:
            raise RuntimeRejected(f"image {image} does not exist in {place.region}")
        return MachineImage(image, "/dev/sda1", "x86_64", "a stock image")
