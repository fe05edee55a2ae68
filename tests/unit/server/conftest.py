from collections.abc import AsyncIterator

import pytest

from tests.unit.control.world import World
from tests.unit.server.desk import Desk, desk_over


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """The API over a world of fakes, with a supervisor that drives."""
    async with desk_over(World()) as desk:
        yield desk
