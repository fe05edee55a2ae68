"""Following a sandbox's events over broken connections, and waiting for a state by them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Set
from contextlib import aclosing, suppress
from random import SystemRandom

from ciab.core.errors import CiabError
from ciab.core.states import ENDED, State
from ciab.schema.events import StreamEvent
from ciab.schema.sandboxes import SandboxInfo

GIVE_UP_SECS = 30.0
"""After so long without any success a broken stream's error is raised."""

POLL_SECS = 5.0
"""How often a wait also asks: behind a proxy that holds streams back, events come late or never."""

GRACE_SECS = 2.0
"""How long a wait that knows the answer lets the events that tell the story catch up."""

Open = Callable[[int], AsyncGenerator[StreamEvent, None]]
Pause = Callable[[int], float]
"""Seconds to wait after so many attempts."""
Look = Callable[[], Awaitable[SandboxInfo]]


def growing_pause(attempt: int) -> float:
    """Growing, at most 5 seconds, and spread: clients that failed together come back one by one."""
    return float(min(5.0, 0.2 * 2.0**attempt) * SystemRandom().uniform(0.5, 1.0))


async def follow(
    open_after: Open, look: Look, after: int, pause: Pause = growing_pause
) -> AsyncGenerator[StreamEvent, None]:
    """Every event later than `after`, each once, until the sandbox has ended."""
    last = after
    failing = _Failing(pause)
    ended = False
    while True:
        try:
            async with aclosing(open_after(last)) as events:
                async for event in events:
                    failing = _Failing(pause)
                    if event.id is None:
                        last = _reset(event, last)
                    elif event.id <= last:
                        continue
                    else:
                        last = event.id
                    yield event
                    if _state_of(event) in ENDED:
                        return
            if ended:
                return
            ended = (await look()).state in ENDED  # then once more: the rest of its story
        except CiabError as error:
            failing.bear(error)
        await failing.rest()


async def wait_until(
    look: Look,
    events: AsyncGenerator[StreamEvent, None],
    states: Set[State],
    on_event: Callable[[StreamEvent], None] | None,
    pause: Pause = growing_pause,
) -> SandboxInfo:
    """The sandbox once it is in one of the states, its events up to there having been told."""
    changed = asyncio.Event()
    told: list[State] = []

    async def tell() -> None:
        async for event in events:
            if on_event:
                on_event(event)
            state = _state_of(event)
            if state:
                told.append(state)
                changed.set()

    teller = asyncio.create_task(tell())
    try:
        while (info := await _looked(look, pause)).state not in states:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECS):
                    await changed.wait()
            changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECS):
                while not (teller.done() or (told and told[-1] is info.state)):
                    changed.clear()
                    await changed.wait()
        return info
    finally:
        teller.cancel()
        await asyncio.gather(teller, return_exceptions=True)
        await events.aclose()


class _Failing:
    """Failures in a row: borne while they are retryable and not too old."""

    def __init__(self, pause: Pause) -> None:
        self._pause = pause
        self._count = 0
        self._since = asyncio.get_running_loop().time()

    def bear(self, error: CiabError) -> None:
        """Count one, or raise it."""
        now = asyncio.get_running_loop().time()
        if self._count == 0:
            self._since = now
        self._count += 1
        if not error.retryable or now - self._since > GIVE_UP_SECS:
            raise error

    async def rest(self) -> None:
        """Pause before the next attempt."""
        await asyncio.sleep(self._pause(max(self._count, 1)))


async def _looked(look: Look, pause: Pause) -> SandboxInfo:
    failing = _Failing(pause)
    while True:
        try:
            return await look()
        except CiabError as error:
            failing.bear(error)
        await failing.rest()


def _reset(event: StreamEvent, last: int) -> int:
    """After `reconnect` the story goes on at the oldest event that is still kept."""
    oldest = event.data.get("oldest_id") if event.event_type == "reconnect" else None
    return max(last, oldest - 1) if isinstance(oldest, int) else last


def _state_of(event: StreamEvent) -> State | None:
    if event.event_type != "sandbox_state_changed":
        return None
    return State(str(event.data.get("to")))
