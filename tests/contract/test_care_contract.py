"""The port Care: what the control plane does inside every machine for its own sake."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import cast

import pytest

from ciab.core.guest import Command, Exit, Output
from tests.insides import Cared

SOON = 0.5
"""Seconds in which whoever is not frozen answers."""


class Echo:
    """A command that gives back every line that it is told."""

    def __init__(self, cared: Cared) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        command = Command(("cat",))
        self.output = cast("AsyncGenerator[Output | Exit, None]", cared.guest.stream(command, self._told()))
        self._next: asyncio.Future[Output | Exit] | None = None

    async def _told(self) -> AsyncIterator[bytes]:
        while True:
            yield await self._lines.get()

    def tell(self, line: bytes) -> None:
        self._lines.put_nowait(line)

    async def answer(self) -> bytes:
        """The next line; one that does not come in time may still come to the next call."""
        self._next = self._next or asyncio.ensure_future(anext(self.output))
        done, _ = await asyncio.wait([self._next], timeout=SOON)
        if not done:
            raise TimeoutError
        said, self._next = self._next.result(), None
        assert isinstance(said, Output)
        return said.data

    async def end(self) -> None:
        if self._next:
            self._next.cancel()
            await asyncio.wait([self._next])


@asynccontextmanager
async def echoing(cared: Cared) -> AsyncIterator[Echo]:
    echo = Echo(cared)
    async with aclosing(echo.output):
        echo.tell(b"ready\n")
        assert await echo.answer() == b"ready\n"
        try:
            yield echo
        finally:
            await echo.end()


async def test_the_first_pulse_of_a_boot_tells_of_no_time_and_the_next_of_some(cared: Cared) -> None:
    first, second, third = [await cared.care.pulse() for _ in range(3)]
    assert (first.cpu_seconds, first.over_seconds) == (0, 0)
    assert second.over_seconds > 0
    assert third.over_seconds > 0
    assert first.boot == second.boot == third.boot != ""
    assert first.interruption is None


async def test_every_pulse_is_felt(cared: Cared) -> None:
    felt = []
    for _ in range(3):
        await cared.care.pulse()
        felt.append(await cared.felt())
    assert len(set(felt)) == 3


async def test_a_switch_that_is_off_is_on_again_with_the_next_pulse(cared: Cared) -> None:
    await cared.care.disarm()
    assert await cared.felt() == "off"
    await cared.care.disarm()
    assert await cared.felt() == "off"
    await cared.care.pulse()
    assert await cared.felt() != "off"


async def test_what_is_frozen_stands_still_until_it_is_thawed(cared: Cared) -> None:
    async with echoing(cared) as echo:
        await cared.care.freeze()
        echo.tell(b"anybody?\n")
        with pytest.raises(TimeoutError):
            await echo.answer()
        await cared.care.thaw()
        assert await echo.answer() == b"anybody?\n"


async def test_freezing_and_thawing_twice_is_as_once(cared: Cared) -> None:
    async with echoing(cared) as echo:
        await cared.care.thaw()
        await cared.care.freeze()
        await cared.care.freeze()
        echo.tell(b"anybody?\n")
        with pytest.raises(TimeoutError):
            await echo.answer()
        await cared.care.thaw()
        await cared.care.thaw()
        assert await echo.answer() == b"anybody?\n"


async def test_a_frozen_machine_has_a_pulse_and_can_be_disarmed(cared: Cared) -> None:
    before = await cared.care.pulse()
    await cared.care.freeze()
    assert (await cared.care.pulse()).boot == before.boot
    await cared.care.disarm()
    assert await cared.felt() == "off"
    await cared.care.thaw()


async def test_a_frozen_machine_is_reached_by_a_new_connection(cared: Cared) -> None:
    before = await cared.care.pulse()
    await cared.care.freeze()
    await cared.connections.close(cared.target.sandbox_id)
    connection = await cared.connections.connect(cared.target)
    assert (await connection.care.pulse()).boot == before.boot
    await connection.care.thaw()


async def test_many_at_once(cared: Cared) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(cared.care.pulse())
            group.create_task(cared.care.freeze())
    await cared.care.thaw()
    ran = await cared.guest.run(Command(("echo", "alive")), limit_bytes=100)
    assert ran.stdout == b"alive\n"
