"""What the region offers: images, instance types, Canonical's public SSM parameters.

Image ids differ from region to region, as at AWS, and are the same in every start of a region.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

# an owner's account and alias
CANONICAL = ("099720109477", None)
AMAZON = ("137112412989", "amazon")
STRANGER = ("679593333241", None)

TYPES = (
    *(f"t3.{size}" for size in ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")),
    *(f"t3a.{size}" for size in ("medium", "large")),
    *(f"t4g.{size}" for size in ("micro", "small", "medium", "large", "xlarge")),
    *(f"m5.{size}" for size in ("large", "xlarge", "2xlarge")),
    *(f"m6i.{size}" for size in ("large", "xlarge", "2xlarge")),
    *(f"m7g.{size}" for size in ("medium", "large", "xlarge")),
    *(f"c6i.{size}" for size in ("large", "xlarge", "2xlarge")),
    *(f"c7g.{size}" for size in ("medium", "large")),
    *(f"r6i.{size}" for size in ("large",)),
)


@dataclass(frozen=True, slots=True)
class Offer:
    """An image: `architecture` as EC2 says it (x86_64, arm64), `created` an ISO time, sizes in GiB."""

    id: str
    name: str
    owner: str
    owner_alias: str | None
    architecture: str
    root_device: str
    created: str
    disk_gib: int = 8


def offers(region: str) -> Iterator[Offer]:
    """For each architecture: Ubuntu 22.04 in a newest and an older build, an Amazon Linux, a look-alike."""
    for arch, machine in (("amd64", "x86_64"), ("arm64", "arm64")):
        stem = f"ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-{arch}-server"
        yield _offer(region, f"{stem}-20250115", CANONICAL, machine, "/dev/sda1")
        yield _offer(region, f"{stem}-20250822", CANONICAL, machine, "/dev/sda1")
        # A build with Canonical's name and a later date by somebody else: choosing by name alone boots it.
        yield _offer(region, f"{stem}-20250901", STRANGER, machine, "/dev/sda1")
        name = f"al2023-ami-2023.8.20250818.0-kernel-6.1-{machine}"
        yield _offer(region, name, AMAZON, machine, "/dev/xvda")


def parameters(region: str) -> dict[str, str]:
    """The public SSM parameters and their values: the ids of the newest Ubuntu builds."""
    builds = sorted((o for o in offers(region) if o.owner == CANONICAL[0]), key=lambda offer: offer.created)
    newest = {offer.architecture: offer.id for offer in builds}
    path = "/aws/service/canonical/ubuntu/server/22.04/stable/current/{}/hvm/ebs-gp2/ami-id"
    return {path.format("amd64"): newest["x86_64"], path.format("arm64"): newest["arm64"]}


def _offer(region: str, name: str, owner: tuple[str, str | None], machine: str, root: str) -> Offer:
    ident = hashlib.sha256(f"{region} {owner[0]} {name}".encode()).hexdigest()[:17]
    date = next(part for part in name.replace(".", "-").split("-") if len(part) == 8 and part.isdigit())
    created = f"{date[:4]}-{date[4:6]}-{date[6:]}T08:00:00.000Z"
    return Offer(f"ami-{ident}", name, *owner, machine, root, created)
