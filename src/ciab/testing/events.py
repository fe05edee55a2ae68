"""Events in memory, for the store in memory to record and for anybody to follow."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from ciab.core.events import Data, StreamEvent
from ciab.core.ids import SandboxId


class MemoryEvents:
    """Events. `record` is what the store calls when it saves."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._kept: dict[SandboxId, list[StreamEvent]] = defaultdict(list)
        self._wakers: set[asyncio.Event] = set()
        self._last = 0
        self._clock = clock

    def record(self, sandbox_id: SandboxId, events: Sequence[tuple[str, Data]]) -> None:
        """Keep these events of one save, and tell who follows."""
        for event_type, data in events:
            self._last += 1
            self._kept[sandbox_id].append(
                StreamEvent(self._last, sandbox_id, event_type, data, self._clock())
            )
        for waker in self._wakers:
            waker.set()

    async def follow(self, sandbox_id: SandboxId, after: int) -> AsyncIterator[StreamEvent]:
        """As the port has it."""
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            while True:
                waker.clear()
                for event in [event for event in self._kept[sandbox_id] if event.id > after]:
                    after = event.id
                    yield event
                await waker.wait()
        finally:
            self._wakers.discard(waker)

    async def oldest(self, sandbox_id: SandboxId) -> int | None:
        """As the port has it."""
        await asyncio.sleep(0)
        kept = self._kept[sandbox_id]
        return kept[0].id if kept else None
