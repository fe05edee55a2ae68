"""Opening a session on a connection that may have no room for one just now."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncssh

Session = TypeVar("Session")
PAUSES = (0.05, 0.2, 0.8)


async def opened(
    connection: asyncssh.SSHClientConnection, open_one: Callable[[], Awaitable[Session]]
) -> Session:
    """The session. sshd refuses one over its MaxSessions (10): the room may come back, so it is asked again.

    Raises asyncssh.ChannelOpenError when it is refused to the end, or the connection is closed.
    """
    for pause in PAUSES:
        try:
            return await open_one()
        except asyncssh.ChannelOpenError:
            if connection.is_closed():
                raise
            await asyncio.sleep(pause)
    return await open_one()
