"""Server-sent events from bytes: what the HTML standard's section 9.2.6 says, without its browser parts."""

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One event. `id` is None when the server gave none with it."""

    event: str
    data: str
    id: str | None = None


async def messages(chunks: AsyncIterable[bytes]) -> AsyncGenerator[Message, None]:
    """Every complete event; one that the end of the stream cuts off is dropped, as the standard says."""
    event, identity, data = "message", None, list[str]()
    async for line in _lines(chunks):
        if not line:
            if data:
                yield Message(event, "\n".join(data), identity)
            event, identity, data = "message", None, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            event = value
        elif field == "id":
            identity = value


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    """Split at CR, LF and CRLF alone: text may hold U+2028 and others that str.splitlines also splits at."""
    pieces: list[bytes] = []
    after_cr = False
    async for arrived in chunks:
        chunk = arrived[1:] if after_cr and arrived.startswith(b"\n") else arrived
        if arrived:
            after_cr = arrived.endswith(b"\r")
        *whole, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for piece in whole:
            pieces.append(piece)
            yield b"".join(pieces).decode("utf-8", "replace")
            pieces = []
        pieces.append(rest)
