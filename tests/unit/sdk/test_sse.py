from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciab.sdk.sse import Message, messages


async def pieces(data: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def parsed(data: bytes, size: int = 1_000_000) -> list[Message]:
    return [message async for message in messages(pieces(data, size))]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_every_line_end_and_every_cut(end: bytes, size: int) -> None:
    data = end.join([b"id: 7", b"event: stats", b"data: {", b"data:}", b"", b": hello", b"data: x", b"", b""])
    assert await parsed(data, size) == [Message("stats", "{\n}", "7"), Message("message", "x")]


async def test_an_event_cut_off_by_the_end_is_dropped() -> None:
    assert await parsed(b"data: whole\n\ndata: half") == [Message("message", "whole")]


async def test_separators_of_unicode_are_text() -> None:
    assert await parsed("data: a\u2028b\x85c\x0bd\n\n".encode()) == [Message("message", "a\u2028b\x85c\x0bd")]


@given(st.binary(max_size=200), st.integers(min_value=1, max_value=9))
async def test_cuts_never_matter(data: bytes, size: int) -> None:
    assert await parsed(data, size) == await parsed(data)
