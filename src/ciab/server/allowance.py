"""What one request may take: time and body. Streams and uploads lift both before they begin."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection
from starlette.types import Message, Receive

from ciab.core.errors import TooLarge

JSON_BYTES = 1024 * 1024
"""The largest body of a request that is read as a whole."""

_SCOPE = "ciab.allowance"


class Allowance:
    """Of one request, kept in its scope. `deadline` is what ends it."""

    def __init__(self, deadline: asyncio.Timeout, receive: Receive, announced: str | None) -> None:
        """`announced`: the request's Content-Length."""
        self.deadline = deadline
        self._receive = receive
        self._announced = int(announced) if announced and announced.isdecimal() else 0
        self._left: int | None = JSON_BYTES

    @property
    def pair(self) -> tuple[str, "Allowance"]:
        """Where it is kept in the scope, and itself."""
        return _SCOPE, self

    def lift(self) -> None:
        """From now on: as long and as much as it takes."""
        self._left = None
        self.deadline.reschedule(None)

    async def receive(self) -> Message:
        """The next message. Raises TooLarge when the body goes beyond what may be read."""
        if self._left is not None and self._announced > JSON_BYTES:
            raise _too_large()
        message = await self._receive()
        if self._left is not None and message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large()
        return message


def lift(connection: HTTPConnection) -> None:
    """This request is a stream or an upload."""
    allowance = connection.scope.get(_SCOPE)
    if isinstance(allowance, Allowance):
        allowance.lift()


class InFlight:
    """Requests under way, to end those that would never end by themselves."""

    def __init__(self) -> None:
        self._open: set[Allowance] = set()
        self.cut_off = False

    async def run(self, allowance: Allowance, call: Callable[[], Awaitable[None]]) -> None:
        """The call, within its allowance. Raises TimeoutError when the deadline or `cut` ended it."""
        self._open.add(allowance)
        try:
            async with allowance.deadline:
                await call()
        finally:
            self._open.discard(allowance)

    def cut(self) -> None:
        """End everything now; the server goes."""
        self.cut_off = True
        for allowance in self._open:
            if not allowance.deadline.expired():
                allowance.deadline.reschedule(asyncio.get_running_loop().time())


def _too_large() -> TooLarge:
    return TooLarge(
        f"the body is larger than {JSON_BYTES // 1024} KiB",
        hint="upload large content as a file and use it from there",
    )
