"""The tunnel to a sandbox's SSH port."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ciab.sdk.connection import CONNECT_SECS, Connection
from ciab.sdk.errors import ServerUnreachable, raised_for

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection


@asynccontextmanager
async def opened(connection: Connection, path: str) -> "AsyncGenerator[ClientConnection, None]":
    """Raises the server's error when it refuses, ServerUnreachable when it does not answer."""
    # Here, because commands that open no tunnel should not wait for this import.
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus

    url = "ws" + connection.base_url.removeprefix("http") + path
    try:
        socket = await connect(
            url,
            additional_headers=connection.headers,
            open_timeout=CONNECT_SECS,
            compression=None,
            max_size=None,
            # A proxy of the environment is for the world outside: it cannot reach our loopback.
            proxy=None if connection.loopback else True,
        )
    except InvalidStatus as error:
        body = bytes(error.response.body or b"")
        raise raised_for(error.response.status_code, body, connection.base_url) from error
    except (OSError, InvalidHandshake) as error:
        raise ServerUnreachable(
            f"no CIAB server answers at {connection.base_url}",
            hint="start one with 'ciab server start', or name another with --server-url",
        ) from error
    async with socket:
        yield socket
