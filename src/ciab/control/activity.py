"""Who uses which sandbox: what is open now, and when the last use was. In memory: a restart is a use."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ciab.core.ids import SandboxId


class Activity:
    """Times are those of the monotonic clock `ticks`."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._open: Counter[SandboxId] = Counter()
        self._last: dict[SandboxId, float] = {}

    @contextmanager
    def use(self, sandbox_id: SandboxId) -> Iterator[None]:
        """In use until this is left: a command, a transfer, a terminal, a tunnel."""
        self._open[sandbox_id] += 1
        try:
            yield
        finally:
            self._open[sandbox_id] -= 1
            self.touch(sandbox_id)

    def touch(self, sandbox_id: SandboxId) -> None:
        """It was used just now."""
        self._last[sandbox_id] = self._ticks()

    def idle_for(self, sandbox_id: SandboxId) -> float:
        """Seconds since the last use; 0 while it is in use, and when it is asked about for the first time."""
        if self._open[sandbox_id]:
            return 0.0
        return self._ticks() - self._last.setdefault(sandbox_id, self._ticks())

    def forget(self, sandbox_id: SandboxId) -> None:
        """It is no longer running: when it is again, that is a use."""
        self._last.pop(sandbox_id, None)
        if not self._open[sandbox_id]:
            del self._open[sandbox_id]
