"""StreamEvent: one line of a sandbox's story, as clients follow it."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel

from ciab.core import events


class StreamEvent(BaseModel):
    """Ids are ordered within a sandbox. `connected`, `keepalive` and `reconnect` are not kept: no id."""

    id: int | None = None
    sandbox_id: str
    session_id: str | None = None
    event_type: str
    data: dict[str, Any]
    timestamp: datetime

    @classmethod
    def from_core(cls, event: events.StreamEvent) -> Self:
        """As it is kept."""
        return cls(
            id=event.id,
            sandbox_id=event.sandbox_id,
            event_type=event.event_type,
            data=dict(event.data),
            timestamp=event.timestamp,
        )
