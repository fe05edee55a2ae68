"""Machines without root, with and without bubblewrap."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ciab.localec2.process.host import ProcessHost
from ciab.localec2.process.trees import descendants
from tests.integration.process_machines.launching import Launched, launch, order


@pytest.fixture(params=["bubblewrap", "none"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHost]:
    """Each test runs with both kinds of isolation."""
    made = await ProcessHost.open()
    if made.isolation != request.param:
        if request.param == "bubblewrap":
            if os.environ.get("CI") == "true":
                pytest.fail(f"bubblewrap does not work here: {made.reason}")
            pytest.skip(f"bubblewrap does not work here: {made.reason}")
        made = await ProcessHost.open("none")
    yield made
    await made.close()


@pytest.fixture
async def machine(host: ProcessHost, tmp_path: Path) -> Launched:
    return await launch(host, order(tmp_path))


@pytest.fixture
async def isolated(tmp_path: Path) -> AsyncIterator[ProcessHost]:
    """Only with bubblewrap."""
    made = await ProcessHost.open()
    if made.isolation != "bubblewrap":
        if os.environ.get("CI") == "true":
            pytest.fail(f"bubblewrap does not work here: {made.reason}")
        pytest.skip(f"bubblewrap does not work here: {made.reason}")
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def others() -> set[int]:
    """Processes below this one before the test began: what other tests of this process share."""
    return set(descendants(os.getpid()))
