"""EC2's documented request limits: a token bucket per action, account and region.

Source: the table "Request throttling for the Amazon EC2 API": (burst, refill a second).
"""

import time
from collections.abc import Callable

_LIMITS = {
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "StopInstances": (50, 5),
    "TerminateInstances": (100, 5),
    "CreateTags": (100, 10),
    "CreateImage": (50, 5),
    "DeregisterImage": (100, 5),
    "DeleteSnapshot": (100, 5),
}
_SEARCHED = (100, 20)
_UNSEARCHED = (50, 10)
_CHANGING = (200, 5)


class Limits:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}

    def admits(self, region: str, action: str, *, searched: bool, scale: float) -> bool:
        """Whether the call is within its limit. `searched`: it has a filter, ids or a page size."""
        if scale == 0:
            return True
        name, (burst, refill) = _limit(action, searched)
        now = self._clock()
        left, since = self._buckets.get((region, name), (burst * scale, now))
        left = min(burst * scale, left + (now - since) * refill * scale)
        self._buckets[region, name] = (max(left - 1, 0) if left >= 1 else left, now)
        return left >= 1


def _limit(action: str, searched: bool) -> tuple[str, tuple[int, int]]:
    """The bucket's name and size: what only reads, or is not named, has one per action."""
    if action in _LIMITS:
        return action, _LIMITS[action]
    if action.startswith(("Describe", "Get")):
        return (action, _SEARCHED) if searched else (f"{action} of everything", _UNSEARCHED)
    return action, _CHANGING
