"""Server-sent events as bytes (HTML standard, section 9.2)."""

from fastapi import Response
from pydantic import BaseModel

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""A proxy that gathers answers would hold events back."""

COMMENT = b": keepalive\n\n"
"""What clients skip; it shows both ends that the other still lives."""


class EventStream(Response):
    """For the OpenAPI document: the route's model is each message's data."""

    media_type = MEDIA_TYPE


def message(model: BaseModel, event: str | None = None, identity: int | None = None) -> bytes:
    """One message. JSON has no raw newline, so the data is one line."""
    head = b"" if identity is None else b"id: %d\n" % identity
    if event is not None:
        head += b"event: " + event.encode() + b"\n"
    return head + b"data: " + model.__pydantic_serializer__.to_json(model) + b"\n\n"
