"""Each contract is run against every implementation."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.databases import Kind, Ports, database
from tests.insides import Inside, in_memory, over_ssh
from tests.sshd import Sshd, sshd


@pytest.fixture(params=["memory", "sqlite"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ports]:
    kind: Kind = request.param
    async with database(kind, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(params=["memory", "ssh"])
async def inside(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Inside]:
    if request.param == "memory":
        async with in_memory() as opened:
            yield opened
    else:
        async with over_ssh(request.getfixturevalue("machine"), tmp_path / "work") as opened:
            yield opened
