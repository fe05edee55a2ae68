"""Each contract is run against every implementation."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.databases import Kind, Ports, database
from tests.insides import Cared, Inside, cared_in_memory, cared_over_ssh, in_memory, over_ssh
from tests.sshd import ISOLATED, Sshd, sshd


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


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Sshd]:
    """A machine of a test's own: what was noted of the last pulse must not be another test's."""
    if not ISOLATED:
        pytest.skip(
            "without root a test's machine has this user's processes: freezing them would end the test"
        )
    (tmp_path / "guarded").mkdir()
    with sshd(tmp_path / "sshd", f"SetEnv CIAB_FOLDER={tmp_path}/guarded") as running:
        yield running


@pytest.fixture(params=["memory", "ssh"])
async def cared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cared]:
    if request.param == "memory":
        async with cared_in_memory() as opened:
            yield opened
    else:
        target = request.getfixturevalue("guarded").target
        async with cared_over_ssh(target, str(tmp_path / "guarded" / "heartbeat")) as opened:
            yield opened
