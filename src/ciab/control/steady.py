"""A clock that never jumps: the wall clock's time at the first start, and from then on only what has passed.

While the server runs it follows a monotonic clock, so that neither a correction of the time nor a server
that slept makes a sandbox old. Over a restart it goes on by what the wall clock says has passed meanwhile.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from ciab.core.ports import Anchor

Wall = Callable[[], datetime]


class Steady:
    """`ticks` is a monotonic clock, in seconds; `anchor` where this one stood at the end of its last life."""

    def __init__(self, ticks: Callable[[], float], wall: Wall, anchor: Anchor | None) -> None:
        self._ticks = ticks
        self._wall = wall
        self._began = ticks()
        moment = wall()
        if anchor is None:
            self._start = moment
        else:
            self._start = anchor.steady + max(moment - anchor.wall, timedelta(0))

    def now(self) -> datetime:
        """The steady time."""
        return self._start + timedelta(seconds=self._ticks() - self._began)

    def wall_of(self, moment: datetime) -> datetime:
        """When a steady moment is, was or will be, as the wall clock is set now."""
        return moment + (self._wall() - self.now())

    def anchor(self) -> Anchor:
        """Where it stands; to be kept now and then."""
        return Anchor(self.now(), self._wall())
