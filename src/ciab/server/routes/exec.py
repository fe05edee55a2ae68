"""Commands inside a sandbox, as a whole or as they happen. They end with the client that asked for them."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import cast

from fastapi import APIRouter, Request, Response

from ciab.control.reach import with_environment
from ciab.core.errors import CiabError
from ciab.core.guest import Command, Exit, Output
from ciab.core.ports import Guest
from ciab.schema.errors import ErrorInfo
from ciab.schema.exec import ErrorFrame, ExecRequest, ExecResult, Frame, Framer
from ciab.server import sse
from ciab.server.replies import REFUSALS, reply
from ciab.server.services import Serving
from ciab.server.streams import Streamed, while_connected

router = APIRouter(prefix="/api/v1/sandboxes/{reference}", tags=["exec"], responses=REFUSALS)

KEPT_OUTPUT = 10 * 1024 * 1024
"""Bytes of each stream that a result holds; the rest is dropped and `truncated` says so."""

CLIENT_GONE = 499
"""For the log alone: nobody is there to read it."""


@router.post("/exec", response_model=ExecResult)
async def run_command(reference: str, body: ExecRequest, request: Request, services: Serving) -> Response:
    """Run a command to its end."""
    command, stdin = body.to_core(), body.stdin_bytes()
    async with services.reach.visit(reference) as (sandbox, connection):
        run = connection.guest.run(with_environment(sandbox, command), stdin, limit_bytes=KEPT_OUTPUT)
        ran = await while_connected(request.receive, run)
    if ran is None:
        return Response(status_code=CLIENT_GONE)
    return reply(ExecResult.from_core(ran, body.encoding))


@router.post(
    "/exec/stream",
    response_class=sse.EventStream,
    response_model=Frame,
    response_description="Server-sent events; the data of each is one frame, the last an exit or an error",
)
async def stream_command(reference: str, body: ExecRequest, services: Serving) -> Response:
    """Run a command and send its output as it happens."""
    command, stdin = body.to_core(), body.stdin_bytes()
    async with AsyncExitStack() as visit:
        sandbox, connection = await visit.enter_async_context(services.reach.visit(reference))
        return Streamed(
            _frames(connection.guest, with_environment(sandbox, command), stdin, Framer(body.encoding)),
            sse.MEDIA_TYPE,
            sse.HEADERS,
            held=visit.pop_all(),
            keepalive=sse.COMMENT,
            keepalive_secs=services.keepalive_secs,
        )


async def _frames(
    guest: Guest, command: Command, stdin: bytes, framer: Framer
) -> AsyncGenerator[bytes, None]:
    output = cast(
        "AsyncGenerator[Output | Exit, None]", guest.stream(command, _once(stdin) if stdin else None)
    )
    try:
        async with aclosing(output):
            async for item in output:
                for frame in framer.frames(item):
                    yield sse.message(frame)
    except CiabError as error:
        yield sse.message(ErrorFrame(error=ErrorInfo.of(error)))


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data
