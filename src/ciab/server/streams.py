"""Answers that are streamed: they end when their source ends or their client goes, whichever comes first."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from fastapi import Response
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from ciab.core.errors import CiabError
from ciab.server.allowance import lift

T = TypeVar("T")

log = logging.getLogger(__name__)


class Streamed(Response):
    """Bytes from `source`, which is closed promptly however the answer ends, also while it is silent.

    A slow client holds up its own source only. What `held` holds is let go when the answer has ended. With
    `keepalive`, that is sent after each silence of `keepalive_secs`. An error of the source leaves the
    answer without its end.
    """

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        *,
        held: AsyncExitStack | None = None,
        keepalive: bytes = b"",
        keepalive_secs: float | None = None,
    ) -> None:
        super().__init__(None, 200, headers, media_type)
        del self.headers["content-length"]
        if headers and (length := headers.get("Content-Length")):
            self.headers["content-length"] = length
        self._source = source
        self._held = held or AsyncExitStack()
        self._keepalive = keepalive
        self._keepalive_secs = keepalive_secs
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The whole answer."""
        async with self._held:
            lift(HTTPConnection(scope))
            self._sent_at = asyncio.get_running_loop().time()
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            try:
                async with aclosing(self._source) as source:
                    await while_connected(receive, self._send_all(source, send))
            except CiabError as error:
                extra = {"action": "answer_broken_off", "code": error.code, "reason": error.message}
                log.warning("answer broken off", extra=extra)

    async def _send_all(self, source: AsyncIterator[bytes], send: Send) -> None:
        keeping = asyncio.create_task(self._keep_alive(send)) if self._keepalive_secs else None
        try:
            async for chunk in source:
                self._sent_at = asyncio.get_running_loop().time()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if keeping:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)

    async def _keep_alive(self, send: Send) -> None:
        silence = self._keepalive_secs or 0.0
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(max(0.0, self._sent_at + silence - now()))
            if now() - self._sent_at >= silence:
                self._sent_at = now()
                await send({"type": "http.response.body", "body": self._keepalive, "more_body": True})


async def while_connected(receive: Receive, action: Coroutine[Any, Any, T]) -> T | None:
    """The action's result; None when the client goes away first, and the action is then cancelled."""
    leash = asyncio.timeout(None)
    watching = asyncio.create_task(_watch(receive, leash))
    try:
        async with leash:
            return await action
    except TimeoutError:
        if not leash.expired():
            raise
        log.debug("client went away", extra={"action": "client_gone"})
        return None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(receive: Receive, leash: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not leash.expired():
        leash.reschedule(asyncio.get_running_loop().time())
