"""The clock that never jumps, within a life and from one to the next."""

from datetime import datetime, timedelta

import pytest

from ciab.control.steady import Steady
from ciab.core.ports import Anchor
from tests.unit.control.clocks import EPOCH, Clock

YEAR = timedelta(days=365)
MINUTE = timedelta(minutes=1)


def steady(clock: Clock, anchor: Anchor | None = None) -> Steady:
    return Steady(clock.ticks, clock.wall, anchor)


def after(clock: Clock, seconds: float, jump: timedelta = timedelta(0)) -> None:
    clock.now += seconds
    clock.jump(jump)


def test_the_first_life_begins_at_the_wall_clocks_time() -> None:
    assert steady(Clock()).now() == EPOCH


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_within_a_life_only_what_passes_counts(jump: timedelta) -> None:
    clock = Clock()
    time = steady(clock)
    after(clock, 60, jump)
    assert time.now() == EPOCH + MINUTE
    assert time.wall_of(time.now()) == clock.wall() == EPOCH + MINUTE + jump
    assert time.wall_of(EPOCH) == EPOCH + jump


@pytest.mark.parametrize("jump", [YEAR, -YEAR, timedelta(0)])
def test_the_next_life_goes_on_from_the_anchor_by_what_passed_since(jump: timedelta) -> None:
    clock = Clock()
    first = steady(clock)
    after(clock, 60, jump)  # before the anchor: it means nothing any more
    anchor = first.anchor()
    after(clock, 60)
    second = steady(clock, anchor)
    assert second.now() == EPOCH + 2 * MINUTE
    after(clock, 60)
    assert second.now() == EPOCH + 3 * MINUTE


@pytest.mark.parametrize(
    ("jump", "expected"), [(YEAR, EPOCH + MINUTE + YEAR), (-YEAR, EPOCH + MINUTE)], ids=["forward", "back"]
)
def test_between_two_lives_the_wall_clock_counts_and_never_backwards(
    jump: timedelta, expected: datetime
) -> None:
    clock = Clock()
    first = steady(clock)
    after(clock, 60)
    anchor = first.anchor()
    assert anchor == Anchor(EPOCH + MINUTE, EPOCH + MINUTE)
    after(clock, 0, jump)
    assert steady(clock, anchor).now() == expected
