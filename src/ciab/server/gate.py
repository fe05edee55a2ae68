"""What every request passes before a route sees it, and what becomes of errors that a route lets out."""

import asyncio
import logging
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ciab.core.errors import CiabError, InvalidRequest, RuntimeUnavailable, TimedOut
from ciab.server.allowance import Allowance, InFlight
from ciab.server.auth import Keyring
from ciab.server.errors import internal_error, refusal
from ciab.server.origins import Origins
from ciab.server.services import Closing
from ciab.server.tracing import REQUEST_ID

log = logging.getLogger(__name__)

_STILL_SERVED = frozenset({"GET", "HEAD", "DELETE"})
"""While the server ends: to look, and to delete."""


class OriginGate:
    """Refuses foreign Hosts and Origins before anything else, WebSockets too."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        if scope["type"] != "lifespan":
            try:
                self._origins.check(Headers(scope=scope))
            except CiabError as error:
                await refusal(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Gate:
    """Keys, limits, the server's end; and an answer for every error."""

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring,
        in_flight: InFlight,
        closing: Closing,
        request_timeout_secs: float,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._in_flight = in_flight
        self._closing = closing
        self._seconds = request_timeout_secs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, receive, send)
        try:
            self._keyring.check(scope["path"], Headers(scope=scope))
            self._refuse_when_closing(scope)
            _check_address(scope)
            await self._run(scope, receive, answer)
        except ClientDisconnect:
            log.debug("client went away", extra={"action": "client_gone"})
        except CiabError as error:
            await answer.refuse(error)
        except Exception:
            log.exception("request broke", extra={"action": "request_broke"})
            await answer.break_off()

    async def _run(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        seconds = None if scope["type"] == "websocket" else self._seconds
        announced = Headers(scope=scope).get("content-length")
        allowance = Allowance(asyncio.timeout(seconds), receive, announced)
        name, value = allowance.pair
        scope[name] = value
        try:
            await self._in_flight.run(allowance, lambda: self._app(scope, allowance.receive, answer.send))
        except TimeoutError as error:
            if not allowance.deadline.expired():
                raise
            if self._in_flight.cut_off:
                raise _ending() from error
            raise TimedOut(
                f"the request took longer than {self._seconds:g} s",
                hint="stream long commands (exec/stream), or raise [server] request_timeout_secs",
            ) from error

    def _refuse_when_closing(self, scope: Scope) -> None:
        if self._closing.begun and scope.get("method") not in _STILL_SERVED:
            raise _ending()


def _check_address(scope: Scope) -> None:
    """A file's name in other bytes than UTF-8 would be read as another name, and a wrong file be written."""
    for part in (scope.get("raw_path") or b"", scope["query_string"]):
        try:
            unquote_to_bytes(part).decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                "the address is not UTF-8",
                hint="a file under such a name is reached by a command in the sandbox",
            ) from error


def _ending() -> RuntimeUnavailable:
    return RuntimeUnavailable("the server is ending and takes no new work", hint="start it again")


class _Answer:
    """The way back to the client, which remembers whether an answer has begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._begun = False

    async def send(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def refuse(self, error: CiabError) -> None:
        if self._begun:
            log.warning("answer broken off", extra={"action": "answer_broken_off", "code": error.code})
        else:
            await refusal(error)(self._scope, self._receive, self._send)

    async def break_off(self) -> None:
        """An answer that has begun is left without its end, so that the client cannot take it for whole."""
        if not self._begun:
            await internal_error(REQUEST_ID.get() or "unknown")(self._scope, self._receive, self._send)
