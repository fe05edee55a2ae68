"""What integration tests share: the root file system of machines with real systemd, cloud-init and sshd."""

from pathlib import Path

import pytest

from ciab.localec2.image import needs as image_needs
from ciab.localec2.image import rootfs


@pytest.fixture(scope="session")
def root_file_system() -> Path:
    """Built once per user and recipe; its building may take a minute."""
    lacks = [*image_needs.missing(), *rootfs.missing()]
    if lacks:
        pytest.skip("; ".join(lacks))
    return rootfs.ensure()
