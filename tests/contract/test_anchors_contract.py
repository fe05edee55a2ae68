"""The port Anchors: what every implementation must do."""

from datetime import UTC, datetime, timedelta, timezone

from ciab.core.ports import Anchor
from tests.databases import Ports

EARLY = Anchor(
    steady=datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC), wall=datetime(2026, 1, 1, 13, tzinfo=UTC)
)
LATE = Anchor(steady=EARLY.steady + timedelta(hours=1), wall=EARLY.wall - timedelta(days=1))


async def test_there_is_none_at_the_first_start(db: Ports) -> None:
    assert await db.anchors.get("lifetimes") is None


async def test_each_name_has_the_anchor_that_was_kept_last(db: Ports) -> None:
    await db.anchors.keep({"lifetimes": EARLY, "bills": EARLY})
    await db.anchors.keep({"bills": LATE})
    await db.anchors.keep({})
    assert await db.anchors.get("lifetimes") == EARLY
    assert await db.anchors.get("bills") == LATE
    assert await db.anchors.get("") is None


async def test_a_moment_of_another_zone_is_the_same_moment(db: Ports) -> None:
    there = timezone(timedelta(hours=-9, minutes=-30))
    await db.anchors.keep({"bills": Anchor(EARLY.steady.astimezone(there), EARLY.wall.astimezone(there))})
    assert await db.anchors.get("bills") == EARLY
