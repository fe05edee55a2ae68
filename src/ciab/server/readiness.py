"""Whether the server can work: asked often, so the answers are kept for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ciab.core.errors import CiabError

CHECK_SECS = 5.0
"""How long one check may take."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must work. An answer is good for `good_for` seconds."""

    what: str
    action: Callable[[], Awaitable[object]]
    good_for: float


class Readiness:
    """The checks and their last answers. However many ask at once, each check runs once."""

    def __init__(self, *checks: Check, ticks: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._ticks = ticks
        self._known: dict[str, tuple[float, str | None]] = {}
        self._asking = asyncio.Lock()

    async def troubles(self) -> Sequence[str]:
        """Why the server cannot work; nothing when it can."""
        async with self._asking:
            found = [await self._trouble(check) for check in self._checks]
        return [trouble for trouble in found if trouble]

    async def _trouble(self, check: Check) -> str | None:
        asked_at, trouble = self._known.get(check.what, (float("-inf"), None))
        if self._ticks() - asked_at > check.good_for:
            trouble = await _ask(check)
            self._known[check.what] = (self._ticks(), trouble)
        return trouble


async def _ask(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECS):
            await check.action()
    except TimeoutError:
        return f"{check.what}: no answer within {CHECK_SECS:g} s"
    except CiabError as error:
        return f"{check.what}: {error.message}"
    return None
