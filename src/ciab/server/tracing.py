"""The outermost layer: every request has an id, in its answer and in every line of the log it causes."""

import logging
import re
import time
from contextvars import ContextVar
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_QUIET = frozenset({"/health", "/ready"})


class Tracing:
    """Takes the client's X-Request-ID when it is sane, else makes one; logs each request by ids only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get("x-request-id", "")
        request_id = wanted if _SANE.match(wanted) else uuid4().hex
        token = REQUEST_ID.set(request_id)
        began, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            if scope["path"] not in _QUIET:
                _log(scope, status, time.perf_counter() - began)
            REQUEST_ID.reset(token)


def _log(scope: Scope, status: int, seconds: float) -> None:
    """The route's template, never the path: paths name files."""
    route = scope.get("route")
    log.info(
        "request answered",
        extra={
            "action": "request_answered",
            "method": scope.get("method", "WEBSOCKET"),
            "route": getattr(route, "path", None),
            "sandbox": scope.get("path_params", {}).get("reference"),
            "status": status,
            "ms": round(seconds * 1000, 1),
        },
    )
