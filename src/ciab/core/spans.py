"""What a meter has counted once it is over: a stretch of time at one price."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ciab.core.sandbox import Meter

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Span:
    """From a moment until another at so many dollars an hour. None: no price was known."""

    usd_hour: float | None
    since: datetime
    until: datetime

    @property
    def usd(self) -> float:
        """What it cost; nothing where no price was known."""
        return (self.usd_hour or 0.0) * ((self.until - self.since) / _HOUR)


def span_closed(before: Meter | None, after: Meter | None, now: datetime) -> Span | None:
    """What is over when a save puts `after` in the place of `before`: up to where `after` begins, or up to
    now when there is none. None when the meter is the same, and when no time went by."""
    if before is None or before == after:
        return None
    until = after.since if after else now
    return Span(before.usd_hour, before.since, until) if until > before.since else None
