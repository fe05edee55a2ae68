"""Time for tests: a clock that goes on only when somebody sleeps, and a loop on which that takes no time."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec

EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)

P = ParamSpec("P")


class Clock:
    """Time that passes only by sleeping. The wall clock can be set."""

    def __init__(self) -> None:
        self.now = 0.0
        self._set_by = timedelta(0)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def ticks(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.ticks()) + self._set_by

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock; no time passes."""
        self._set_by += by


class LoopClock(Clock):
    """The running loop's time: what sleeps at the same time sleeps beside each other. For `in_no_time`."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def ticks(self) -> float:
        return asyncio.get_running_loop().time()


class _Selector(selectors.SelectSelector):
    """Does not wait: when nothing is ready, the time that it may wait for has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits, and nothing is left that could happen")
            self.passed += max(timeout, 0.0)
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.passed


def in_no_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a loop whose time-outs and intervals are kept to the second, and take no time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(test(*args, **kwargs))

    return run
