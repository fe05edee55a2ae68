"""A local region that plays AWS for `ciab doctor`, and an installation in which nothing is wrong."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.installation import PAIR, Installation, security_group
from tests.region import RunningRegion

GOOD_DAY: dict[str, Any] = {"denied": [], "missing_profiles": [], "pending_secs": 0.0, "visible_after": 0.0}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegion]:
    running = RunningRegion(tmp_path_factory.mktemp("doctor") / "region")
    running.start()
    yield running
    running.end()


@pytest.fixture
async def here(region: RunningRegion) -> AsyncIterator[RunningRegion]:
    await region.set_faults(**GOOD_DAY)
    yield region
    await region.set_faults(**GOOD_DAY)


@pytest.fixture
async def group(here: RunningRegion) -> str:
    """A security group that lets one address in on port 22."""
    return await security_group(here, "198.51.100.7/32")


@pytest.fixture
def installation(tmp_path: Path, here: RunningRegion, group: str) -> Installation:
    made = Installation(tmp_path, {"endpoint_url": here.endpoint, "security_group_ids": [group]})
    program = tmp_path / "packer"
    program.write_text("#!/bin/sh\necho 'Packer v1.9.4'\n")
    program.chmod(0o755)
    return made


@pytest.fixture
async def named(installation: Installation, here: RunningRegion) -> AsyncIterator[Installation]:
    """One with a key pair of the operator's own, in EC2 and in ~/.ssh."""
    installation.ec2["key_pair_name"] = PAIR
    key = asyncssh.generate_private_key("ssh-ed25519")
    installation.key_file.parent.mkdir(mode=0o700)
    installation.key_file.write_bytes(key.export_private_key("openssh"))
    installation.key_file.chmod(0o600)
    async with here.client("ec2") as ec2:
        await ec2.import_key_pair(KeyName=PAIR, PublicKeyMaterial=key.export_public_key("openssh"))
        yield installation
        await ec2.delete_key_pair(KeyName=PAIR)
