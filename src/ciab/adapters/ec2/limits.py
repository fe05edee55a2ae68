"""EC2's documented request rates, kept on our side so that a crowd of sandboxes waits instead of failing.

One bucket per action and region, as EC2 has them (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html).
They are the account's, so others may use them too: a throttled answer empties ours.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, then so many a second."""

    burst: float
    per_second: float


READING = Rate(100, 20)
# EC2 has 5 for the first two. Calls arrive less evenly than they are sent, so one is kept back.
_RATES = {
    "RunInstances": Rate(4, 2),
    "StartInstances": Rate(4, 2),
    "TerminateInstances": Rate(100, 5),
    "StopInstances": Rate(50, 5),
    "CreateTags": Rate(100, 10),
    "DeleteTags": Rate(100, 10),
    "ModifyInstanceAttribute": Rate(50, 5),
    "DeleteVolume": Rate(50, 5),
    "DeleteNetworkInterface": Rate(50, 5),
}


def rate_of(action: str) -> Rate:
    """The rate of one EC2 action; every other one that is used here only reads."""
    return _RATES.get(action, READING)


class Limits:
    """Waits until a call may be made. Who asks first goes first."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        # The generic cell rate algorithm: when a bucket's calls so far would be paid off. One number per
        # bucket is a place in the queue, too.
        self._paid_off: dict[tuple[str, str], float] = {}

    async def take(self, region: str, action: str) -> None:
        """Return when `action` may be called in `region`."""
        rate, now = rate_of(action), self._monotonic()
        paid_off = max(self._paid_off.get((region, action), now), now) + 1 / rate.per_second
        self._paid_off[region, action] = paid_off
        wait = paid_off - rate.burst / rate.per_second - now
        if wait > 0:
            await self._sleep(wait)

    def throttled(self, region: str, action: str) -> None:
        """EC2 says that the bucket is empty: believe it."""
        rate, now = rate_of(action), self._monotonic()
        empty = now + rate.burst / rate.per_second
        self._paid_off[region, action] = max(self._paid_off.get((region, action), now), empty)
