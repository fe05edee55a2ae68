"""One real server for all tests of the command line, and one sandbox that they share."""

from collections.abc import Iterator

import pytest

from tests.commands import Ciab
from tests.server import RunningServer


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path_factory.mktemp("cli"))
    try:
        running.start()
        yield running
    finally:
        running.end()
        running.end_region()


@pytest.fixture(scope="session")
def ciab(here: RunningServer) -> Ciab:
    return Ciab(here.url, {"CIAB_CONFIG": str(here.folder / "config.toml")})


@pytest.fixture(scope="session")
def box(ciab: Ciab) -> str:
    """The name of a sandbox that runs."""
    ciab.good("sandbox", "create", "--provider", "command", "--name", "box", "-e", "SHARED=for all")
    return "box"
