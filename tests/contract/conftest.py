"""Each contract is run against every implementation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.databases import Kind, Ports, database


@pytest.fixture(params=["memory", "sqlite"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ports]:
    kind: Kind = request.param
    async with database(kind, tmp_path) as opened:
        yield opened
