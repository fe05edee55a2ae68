"""The record of API calls: counts, and the last thousand."""

import time
from collections import Counter, deque
from typing import Any

from ciab.localec2.api.wire import Call

_KEPT = 1000


class Calls:
    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._last: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def note(self, call: Call, code: str) -> None:
        """`code`: the error's, "ok", or "lost" for an answer that was not given. No user-data is kept."""
        self._counts.setdefault(call.region, Counter())[call.action] += 1
        self._last.append(
            {
                "time": time.time(),
                "region": call.region,
                "service": call.service,
                "action": call.action,
                "parameters": call.shown(),
                "result": code,
            }
        )

    def shown(self) -> dict[str, Any]:
        return {
            "counts": {region: dict(counter) for region, counter in self._counts.items()},
            "last": list(self._last),
        }
