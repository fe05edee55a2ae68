"""What the verbs work with: the ports, the limits, and the word that a sandbox's intent has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ciab.core.errors import StaleVersion
from ciab.core.machine import SandboxKeys, Site
from ciab.core.ports import Attempts, Connections, Images, Keys, Machines, Store
from ciab.core.spec import Spec

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations in seconds."""

    launch: float = 180.0
    """For a call to the runtime, retries included."""
    ready: float = 180.0
    """From the launch to an address."""
    login: float = 120.0
    """From an address to a first SSH login."""
    setup: float = 900.0
    """For each repository and each script."""
    undo: float = 60.0
    """For one round of undoing; there is always another round."""
    driven: int = 64
    """How many sandboxes are created or started at once; as many again may be cleaned up beside them."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, as one value. Time and chance are passed in, so that tests own them."""

    store: Store
    keys: Keys
    attempts: Attempts
    machines: Machines
    images: Images
    connections: Connections
    site_of: Callable[[Spec], Site]
    mint_keys: Callable[[], SandboxKeys]
    ticks: Callable[[], float]
    """A monotonic clock, in seconds."""
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]
    """A number in [0, 1), for jitter."""
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Work:
    """One sandbox being driven. `recalled` is set when its intent has changed: look again."""

    ports: Ports
    recalled: asyncio.Event = field(default_factory=asyncio.Event)

    async def pause(self, seconds: float) -> None:
        """Sleep, with jitter. Raises StaleVersion as soon as the intent changes."""
        await self.unless_recalled(self._sleep(seconds * (0.5 + self.ports.chance())))

    async def unless_recalled(self, action: Coroutine[Any, Any, T]) -> T:
        """The action's result; or, when the intent changes first, its cancellation and StaleVersion."""
        task = asyncio.create_task(action)
        recall = asyncio.create_task(self.recalled.wait())
        try:
            await asyncio.wait({task, recall}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise StaleVersion
            return task.result()
        finally:
            task.cancel()
            recall.cancel()
            await asyncio.gather(task, recall, return_exceptions=True)

    async def _sleep(self, seconds: float) -> None:
        await self.ports.sleep(seconds)
