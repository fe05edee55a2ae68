"""Events on their way from the commit to whoever follows: a short ring for each sandbox that is followed.

A follower that is slower than its ring reads the database again; nobody waits for it.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from ciab.core.events import StreamEvent
from ciab.core.ids import SandboxId

RING_SIZE = 1000


@dataclass(slots=True, eq=False)
class Ring:
    """The sandbox's last events: every one whose id is above `floor`."""

    floor: int
    events: deque[StreamEvent] = field(default_factory=deque)
    followers: set[asyncio.Event] = field(default_factory=set)

    def later(self, after: int) -> Sequence[StreamEvent] | None:
        """The events after that id; None when the ring does not reach back so far."""
        if after < self.floor:
            return None
        new = list(takewhile(lambda event: event.id > after, reversed(self.events)))
        return new[::-1]

    def put(self, event: StreamEvent) -> None:
        """Take an event in, and let the oldest go when there are too many."""
        self.events.append(event)
        if len(self.events) > RING_SIZE:
            self.floor = self.events.popleft().id


class Live:
    """The rings. `last` is the id of the last event that was committed."""

    def __init__(self, last: int) -> None:
        self.last = last
        self._rings: dict[SandboxId, Ring] = {}

    def join(self, sandbox_id: SandboxId, waker: asyncio.Event) -> Ring:
        """The sandbox's ring, until `leave`; `waker` is set whenever something was put into it."""
        ring = self._rings.setdefault(sandbox_id, Ring(floor=self.last))
        ring.followers.add(waker)
        return ring

    def leave(self, sandbox_id: SandboxId, waker: asyncio.Event) -> None:
        """Follow no longer. The last one takes the ring along."""
        ring = self._rings[sandbox_id]
        ring.followers.discard(waker)
        if not ring.followers:
            del self._rings[sandbox_id]

    def tell(self, events: Iterable[StreamEvent]) -> None:
        """Hand over what was committed, in the order of the commits."""
        for event in events:
            self.last = event.id
            if ring := self._rings.get(event.sandbox_id):
                ring.put(event)
                for waker in ring.followers:
                    waker.set()
