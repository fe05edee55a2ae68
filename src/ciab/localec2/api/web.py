"""The endpoint on loopback: AWS's protocols on POST /, and /_ciab/ for who runs the region.

GET  /_ciab/health   {"ok": true}; also counts as a sign of life for --orphan-secs
GET  /_ciab/faults   the document of faults as it stands; PUT replaces it as a whole (see `faults`)
GET  /_ciab/calls    {"counts": {region: {action: n}}, "last": [{time, region, service, action,
                     parameters, result}]}
POST /_ciab/interrupt  {"instance": "i-...", "secs": 120}: a spot instance is told that it is taken back, and
                     is after so many seconds (120 by default); {"time": when}; 404 or 409 when it cannot be
"""

import asyncio
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from ciab.localec2.api import faults, plain
from ciab.localec2.api.calls import Calls
from ciab.localec2.api.engine import Engine
from ciab.localec2.api.limits import Limits
from ciab.localec2.api.shared import Shared
from ciab.localec2.api.wire import ApiError, Call, Reply, error_reply, read_call

_LONGEST_NOTICE_SECS = 86_400
_HOSTS = {"127.0.0.1", "localhost"}


class Front:
    """Takes requests, does to them what the faults say, and has the engine answer."""

    def __init__(self, engine: Engine, shared: Shared) -> None:
        self._engine = engine
        self._shared = shared
        self._limits = Limits()
        self._calls = Calls()
        self._open = 0
        self._last_seen = time.monotonic()

    @property
    def idle_secs(self) -> float:
        """For how long nobody has called; 0 while a call is being answered."""
        return 0.0 if self._open else time.monotonic() - self._last_seen

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._only_ours], client_max_size=4 * 2**20)
        app.router.add_get("/_ciab/health", self._health)
        app.router.add_get("/_ciab/faults", self._show_faults)
        app.router.add_put("/_ciab/faults", self._set_faults)
        app.router.add_get("/_ciab/calls", self._show_calls)
        app.router.add_post("/_ciab/interrupt", self._interrupt)
        app.router.add_post("/", self._aws)
        return app

    @web.middleware
    async def _only_ours(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # A page in the user's browser can reach loopback under a name of its own.
        if (request.host.rpartition(":")[0] or request.host) not in _HOSTS or "Origin" in request.headers:
            raise web.HTTPForbidden(text="This endpoint is for programs on this machine only.\n")
        self._open += 1
        try:
            return await handler(request)
        finally:
            self._open -= 1
            self._last_seen = time.monotonic()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.json_response(faults.shown(self._shared.faults))

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self._shared.faults = faults.parse(await request.text())
        except faults.FaultsError as exc:
            raise web.HTTPBadRequest(text=f"{exc}\n") from exc
        return await self._show_faults(request)

    async def _show_calls(self, _: web.Request) -> web.Response:
        return web.json_response(self._calls.shown())

    async def _interrupt(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            instance, secs = str(asked["instance"]), float(asked.get("secs", 120))
            if not 0 <= secs <= _LONGEST_NOTICE_SECS:
                raise ValueError(secs)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise web.HTTPBadRequest(text='send {"instance": "i-...", "secs": 120}\n') from exc
        try:
            at = await self._engine.interrupt(instance, secs)
        except ApiError as exc:
            return web.json_response({"error": exc.message}, status=exc.status)
        return web.json_response({"time": f"{at:%Y-%m-%dT%H:%M:%SZ}"})

    async def _aws(self, request: web.Request) -> web.StreamResponse:
        try:
            call = read_call(request.headers, await request.read())
        except ApiError as exc:
            return _response(error_reply("ec2", exc))
        reply = await self._answered(call)
        lost = reply.status < 300 and faults.first(self._shared.faults.lose, call.action)
        self._calls.note(call, "lost" if lost else reply.code)
        if lost and request.transport is not None:
            request.transport.abort()
        return _response(reply)

    async def _answered(self, call: Call) -> Reply:
        delay = faults.first(self._shared.faults.delay, call.action)
        if delay and delay.when == "before":
            await asyncio.sleep(delay.secs)
        try:
            self._admit(call)
            reply = await self._engine.call(call) if call.service == "ec2" else plain.answer(call)
        except ApiError as exc:
            reply = error_reply(call.service, exc)
        if delay and delay.when == "after":
            await asyncio.sleep(delay.secs)
        return reply

    def _admit(self, call: Call) -> None:
        """Raises ApiError where the faults, or the request limits, say so."""
        current = self._shared.faults
        error = faults.first(current.error, call.action)
        if error:
            raise ApiError(error.code, error.message, error.status)
        searched = any(key.startswith(("Filter.", "MaxResults")) or "Id." in key for key in call.form)
        scale = current.rate_scale if call.service == "ec2" else 0
        if faults.first(current.throttle, call.action) or not self._limits.admits(
            call.region, call.action, searched=searched, scale=scale
        ):
            raise ApiError("RequestLimitExceeded", "Request limit exceeded.", 503)
        if current.denies(call.action):
            raise _denied(call)


def _denied(call: Call) -> ApiError:
    text = f"You are not authorized to perform this operation: {call.service}:{call.action}."
    if call.service == "ec2":
        return ApiError("UnauthorizedOperation", text, 403)
    return ApiError("AccessDeniedException" if call.service == "ssm" else "AccessDenied", text, 403)


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status,
        body=reply.body,
        headers={"Content-Type": reply.content_type, "x-amzn-RequestId": reply.request_id},
    )
