"""A local region for the tests of the EC2 adapter, and installations that use it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.ec2 import Account, Configured, account
from tests.region import RunningRegion

GOOD_DAY = {
    "visible_after": 0.0,
    "pending_secs": 0.05,
    "rate_scale": 0.0,
    "capacity": [],
    "denied": [],
    "quota": None,
    "lose": [],
    "error": [],
    "throttle": [],
    "delay": [],
}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegion]:
    running = RunningRegion(tmp_path_factory.mktemp("ec2") / "region")
    running.start()
    yield running
    running.end()


@pytest.fixture
async def here(region: RunningRegion) -> AsyncIterator[RunningRegion]:
    """A good day; what a test asks for is over after it."""
    await region.set_faults(**GOOD_DAY)
    yield region
    await region.set_faults(**GOOD_DAY)


@pytest.fixture
async def made(here: RunningRegion) -> AsyncIterator[Account]:
    async with account(here) as opened:
        yield opened
        await here.set_faults(**GOOD_DAY)
        await opened.clean()


@pytest.fixture
def configured(here: RunningRegion) -> Configured:
    @asynccontextmanager
    async def made(**settings: Any) -> AsyncIterator[Account]:
        async with account(here, **settings) as opened:
            yield opened
            await opened.clean()

    return made
