"""The orderly end: what the operator asked for, and how it comes about."""

import asyncio
import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ciab.control.closing import Left, close_down, disarm, intend_end
from ciab.control.listing import every
from ciab.core.ids import SandboxId
from ciab.core.states import LIVE, State
from ciab.server.app import Parts
from ciab.server.local import ORPHAN_SECS

PROGRESS_SECS = 1.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Orders:
    """What signals have asked for. SIGINT, SIGTERM, SIGHUP: end; once more: at once. SIGUSR1: end, keep."""

    end: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)
    keep: bool = False

    def listen(self) -> None:
        """Take the signals of this process from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                loop.add_signal_handler(number, self._ordered)
        loop.add_signal_handler(signal.SIGUSR1, self._ordered_to_keep)

    def _ordered(self) -> None:
        (self.at_once if self.end.is_set() else self.end).set()

    def _ordered_to_keep(self) -> None:
        if not self.end.is_set():
            self.keep = True
            self.end.set()


async def end(parts: Parts, orders: Orders, say: Say) -> int:
    """Refuse new work, then leave everything running, or take it down. The exit code: 1 if anything is left.

    Raises nothing on a second order: it stops waiting, and the next start goes on.
    """
    parts.closing.begun = True
    live = await every(parts.ports.store, LIVE)
    if orders.keep or parts.outside.settings.runtime.ec2.on_shutdown == "keep":
        say(_kept(parts, len(live)))
        for one in await disarm(parts.ports):
            say(f"warning: {one.what}: {one.why}")
        return 0
    intended = await intend_end(parts.ports, parts.sandboxes)
    if live:
        say(f"ending: {_count(len(live))} to take down; once more ends at once")
    left = await _close(parts, intended, orders, say)
    if left is None:
        say("ended at once: what is left is recorded, and the next start goes on with it")
        return 1
    for one in left:
        say(f"left: {one.what}: {one.why}")
    if not left and live:
        say("everything was taken down")
    return 1 if left else 0


async def _close(
    parts: Parts, intended: Collection[SandboxId], orders: Orders, say: Say
) -> Collection[Left] | None:
    seconds = parts.outside.settings.server.shutdown_timeout_secs
    closing = asyncio.create_task(
        close_down(
            parts.ports,
            parts.sandboxes,
            parts.supervisor,
            parts.reaper,
            intended=intended,
            seconds=seconds,
        )
    )
    hurry = asyncio.create_task(orders.at_once.wait())
    progress = asyncio.create_task(_progress(parts, say))
    try:
        await asyncio.wait({closing, hurry}, return_when=asyncio.FIRST_COMPLETED)
        return closing.result() if closing.done() else None
    finally:
        for task in (closing, hurry, progress):
            task.cancel()
        await asyncio.gather(closing, hurry, progress, return_exceptions=True)


async def _progress(parts: Parts, say: Say) -> None:
    told = -1
    while True:
        await asyncio.sleep(PROGRESS_SECS)
        left = len(await every(parts.ports.store, LIVE - {State.STOPPED, State.PAUSED}))
        if left != told:
            say(f"  {left} left")
            told = left


def _kept(parts: Parts, count: int) -> str:
    if not count:
        return "ending; there is nothing to keep"
    region = ""
    if parts.outside.local:
        region = f"; the local region ends by itself after {ORPHAN_SECS // 60} minutes without a server"
    are = "it is" if count == 1 else "they are"
    return f"ending; {_count(count)} left as {are}, for the next start{region}"


def _count(number: int) -> str:
    return f"{number} sandbox{'' if number == 1 else 'es'}"
