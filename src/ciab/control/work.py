"""What the verbs work with: the ports, the limits, and the word that a sandbox's intent has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ciab.control.policy import Policy
from ciab.control.steady import Steady
from ciab.core.errors import StaleVersion
from ciab.core.machine import KeyPair, Site
from ciab.core.ports import (
    Anchors,
    Attempts,
    Connections,
    Images,
    Keys,
    Ledger,
    Machines,
    Prices,
    Remains,
    Store,
)
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
    freeze: float = 60.0
    """For freezing and for thawing a machine's processes."""
    undo: float = 60.0
    """For one round of undoing; there is always another round."""
    driven: int = 64
    """How many sandboxes are created or started at once; as many again may be put to rest or ended beside
    them."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, as one value. Time and chance are passed in, so that tests own them."""

    store: Store
    keys: Keys
    attempts: Attempts
    machines: Machines
    images: Images
    connections: Connections
    remains: Remains
    prices: Prices
    ledger: Ledger
    anchors: Anchors
    site_of: Callable[[Spec], Site]
    mint_key: Callable[[], KeyPair]
    named_key: Callable[[str], Awaitable[KeyPair]]
    """The operator's own key pair of this name. Raises ConfigError when it cannot be used."""
    steady: Steady
    """For lifetimes: it does not count the sleep of the server's own machine."""
    billing: Steady
    """For money: it does."""
    ticks: Callable[[], float]
    """A monotonic clock, in seconds."""
    sleep: Callable[[float], Awaitable[None]]
    chance: Callable[[], float]
    """A number in [0, 1), for jitter."""
    limits: Limits = Limits()
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Work:
    """One sandbox being driven. `recalled` is set when its intent has changed: look again."""

    ports: Ports
    recalled: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the sandbox is at rest."""

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
