"""A region for each module here: its machines are processes, its request limits are off."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.integration.local_region.ask import Launch, launcher, ubuntu
from tests.region import RunningRegion


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegion]:
    """One process for all tests of a module: a test leaves its faults as they were."""
    running = RunningRegion(tmp_path_factory.mktemp("local") / "region")
    running.start()
    yield running
    running.end()


@pytest.fixture
async def here(shared: RunningRegion) -> AsyncIterator[RunningRegion]:
    """The module's region; whatever faults the test sets are taken back."""
    before = await shared.faults_now()
    yield shared
    await shared.set_faults(**before)


@pytest.fixture
async def ec2(here: RunningRegion) -> AsyncIterator[Any]:
    async with here.client("ec2") as client:
        yield client


@pytest.fixture
async def image(here: RunningRegion) -> str:
    return await ubuntu(here)


@pytest.fixture
def launch(ec2: Any, image: str) -> Launch:
    return launcher(ec2, image)
