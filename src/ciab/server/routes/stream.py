"""The story of a sandbox as server-sent events: replayed from any id, then live, until it has ended."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, cast

from fastapi import APIRouter, Header, Query, Response

from ciab.core import events as core
from ciab.core.sandbox import Sandbox
from ciab.core.states import ENDED
from ciab.schema.events import StreamEvent
from ciab.server import sse
from ciab.server.replies import REFUSALS
from ciab.server.services import Services, Serving
from ciab.server.streams import Streamed

router = APIRouter(prefix="/api/v1/sandboxes/{reference}", tags=["stream"], responses=REFUSALS)

EventId = Annotated[int, Query(ge=0, le=2**63 - 1)]


@router.get(
    "/stream",
    response_class=sse.EventStream,
    response_model=StreamEvent,
    response_description="Server-sent events; `id:` is the event's id, `event:` its type",
)
async def stream_events(
    reference: str,
    services: Serving,
    last_event_id: EventId | None = None,
    resumed_from: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**63 - 1)] = None,
) -> Response:
    """Every event later than the given id; without one, every event that is kept. Then those to come."""
    sandbox = await services.store.lookup(reference)
    # a browser that connects again repeats the address and adds the header: the header is newer
    after = resumed_from if resumed_from is not None else last_event_id or 0
    return Streamed(
        _story(sandbox, after, services),
        sse.MEDIA_TYPE,
        sse.HEADERS,
        keepalive=_unkept("keepalive", sandbox, {}),
        keepalive_secs=services.keepalive_secs,
    )


async def _story(sandbox: Sandbox, after: int, services: Services) -> AsyncGenerator[bytes, None]:
    yield _unkept("connected", sandbox, {"state": sandbox.state, "last_event_id": after})
    while True:
        oldest = await services.events.oldest(sandbox.id)
        if after and oldest is not None and after < oldest:
            yield _unkept("reconnect", sandbox, {"oldest_id": oldest})
            after = oldest - 1
        # The event that the client has already may be the last one there is: look at it again, unsent.
        since = after if sandbox.live else max(after - 1, 0)
        events = services.events.follow(sandbox.id, since)
        async with aclosing(cast("AsyncGenerator[core.StreamEvent, None]", events)) as following:
            async for event in following:
                if event.id > after:
                    yield _message(event)
                    after = event.id
                if _is_the_end(event):
                    return


@lru_cache(1024)
def _message(event: core.StreamEvent) -> bytes:
    """Made once for all who follow; as many are kept as a slow one may be behind."""
    return sse.message(StreamEvent.from_core(event), event.event_type, event.id)


def _is_the_end(event: core.StreamEvent) -> bool:
    return event.event_type == "sandbox_state_changed" and event.data.get("to") in ENDED


def _unkept(event_type: str, sandbox: Sandbox, data: dict[str, object]) -> bytes:
    now = datetime.now(UTC)
    event = StreamEvent(sandbox_id=sandbox.id, event_type=event_type, data=data, timestamp=now)
    return sse.message(event, event_type)
