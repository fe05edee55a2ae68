"""Reaching a machine that is not there yet, on real sockets."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ciab.adapters.ssh.dial import dial


@pytest.fixture
def port() -> Iterator[tuple[socket.socket, int]]:
    """A port that refuses until its socket listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound, bound.getsockname()[1]


async def test_a_port_that_refuses_is_tried_until_it_listens(port: tuple[socket.socket, int]) -> None:
    bound, number = port
    dialling = asyncio.create_task(dial("127.0.0.1", number))
    await asyncio.sleep(0.1)  # some refusals
    bound.listen()
    with await dialling as made:
        assert made.getpeername() == ("127.0.0.1", number)


async def test_a_port_that_goes_on_refusing_is_told_as_refused(port: tuple[socket.socket, int]) -> None:
    with pytest.raises(ConnectionRefusedError):
        await dial("127.0.0.1", port[1])


async def test_a_machine_that_begins_to_answer_is_reached_before_the_kernel_asks_again(
    port: tuple[socket.socket, int],
) -> None:
    bound, number = port
    with ExitStack() as opened:
        bound.listen(0)
        for _ in range(4):  # a listener whose queue is full drops what comes, as if nobody were there
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", number))
        dialling = asyncio.create_task(dial("127.0.0.1", number))
        await asyncio.sleep(1.1)  # the kernel has asked again after 1 s, and will after another one at least
        assert not dialling.done()
        opened.close()
        bound.setblocking(False)
        bound.listen(8)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.6):
            (await loop.sock_accept(bound))[0].close()
            (await dialling).close()
