"""A TCP connection to a machine that may just be coming up: made as soon as it can be, not a pause later."""

import asyncio
import socket

CONNECT_SECONDS = 5.0
"""For a machine that does not answer at all."""
REFUSED_SECONDS = 1.0
"""For one that answers, but whose SSH server does not listen: it is being started, or it is not there."""
AGAIN_SECONDS = 0.03
"""Between a refusal and the next try."""
SILENT_SECONDS = 0.25
"""After so long without an answer another try is begun beside the first. The kernel repeats an unanswered
SYN after a second at the earliest, then more slowly (RFC 6298, section 2; tcp(7), tcp_syn_retries): a machine
whose network comes up in between would be noticed that much later."""


async def dial(host: str, port: int) -> socket.socket:
    """A connected socket. Raises TimeoutError, or the OSError of the last try."""
    clock = asyncio.get_running_loop().time
    until = clock() + REFUSED_SECONDS
    tries: set[asyncio.Task[socket.socket]] = set()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            while True:
                tries.add(asyncio.create_task(_connect(host, port)))
                done, tries = await asyncio.wait(
                    tries, timeout=SILENT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if connected := [task.result() for task in done if task.exception() is None]:
                    for superfluous in connected[1:]:
                        superfluous.close()
                    return connected[0]
                for task in done:
                    refused = isinstance(task.exception(), ConnectionRefusedError)
                    if not refused or clock() > until:
                        return task.result()  # raises
                if done:
                    await asyncio.sleep(AGAIN_SECONDS)
    finally:
        for task in tries:
            task.cancel()
        for late in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()


async def _connect(host: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (host, port))
    except BaseException:
        made.close()
        raise
    return made
