"""A way into a sandbox for the user's own SSH client: a key for a limited time, and a tunnel."""

import asyncio
from contextlib import AsyncExitStack, suppress

from fastapi import APIRouter, Response, WebSocket, WebSocketDisconnect

from ciab.core.errors import CiabError, GuestUnreachable
from ciab.schema.access import SshAccess, SshAccessRequest
from ciab.server.errors import refusal
from ciab.server.replies import REFUSALS, reply
from ciab.server.services import Serving

router = APIRouter(prefix="/api/v1/sandboxes/{reference}", tags=["access"], responses=REFUSALS)

DIAL_SECS = 10.0
PIECE = 64 * 1024


@router.post("/ssh-access", response_model=SshAccess)
async def allow_ssh(reference: str, body: SshAccessRequest, services: Serving) -> Response:
    """Let the owner of a key log in for a limited time."""
    grant = await services.access.grant(reference, body.public_key, body.ttl_secs)
    target = grant.target
    return reply(
        SshAccess(user=target.user, host_key=target.host_key, port=target.port, expires_at=grant.expires_at)
    )


@router.websocket("/proxy")
async def proxy(websocket: WebSocket, reference: str, services: Serving) -> None:
    """The bytes of the machine's SSH port, as binary messages in both directions."""
    async with AsyncExitStack() as use:
        try:
            sandbox = await use.enter_async_context(services.reach.use(reference))
            target = await services.reach.target(sandbox)
            reader, writer = await _dial(target.host, target.port)
        except CiabError as error:
            await websocket.send_denial_response(refusal(error))
            return
        try:
            await websocket.accept()
            await _join(websocket, reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _dial(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(DIAL_SECS):
            return await asyncio.open_connection(host, port, limit=PIECE)
    except OSError as error:  # TimeoutError is one
        raise GuestUnreachable(
            f"the machine does not answer at {host}:{port}", hint="try again; is it running?"
        ) from error


async def _join(websocket: WebSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until either side ends. Each direction waits for its receiver."""
    up = asyncio.create_task(_from_client(websocket, writer))
    down = asyncio.create_task(_to_client(reader, websocket))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        up.cancel()
        down.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
    if down.done() and not down.cancelled():
        with suppress(RuntimeError, WebSocketDisconnect, OSError):
            await websocket.close()


async def _from_client(websocket: WebSocket, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(await websocket.receive_bytes())
        await writer.drain()


async def _to_client(reader: asyncio.StreamReader, websocket: WebSocket) -> None:
    while piece := await reader.read(PIECE):
        await websocket.send_bytes(piece)
