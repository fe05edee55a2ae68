"""How fast the events of one sandbox reach many clients, against a bare Starlette app that sends the same.

    python -m benchmarks.fanout [--clients N] [--rounds N]

Both are served by one process, the clients are in another. In each round first one, then the other is
followed: all connect, and have an event that is made then; events come one at a time, each saved before it is
sent, for their delays; then many saved at once, for how many the server delivers in a second, counted over
all clients until the last one has all of them. Only our stream saves, and looks for what a client has missed.
"""

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median
from typing import Any

import httpx
import uvloop

from benchmarks.rounds import report

PEER = "bare Starlette"
OURS = "event stream"
SINGLE, PAUSE = 40, 0.05
BURST = 100
MADE_AT = re.compile(rb'"message":"(\d+)"')


@dataclass
class Follower(asyncio.Protocol):
    """A client that only keeps what comes, and when: it must not be slower than the server."""

    news: asyncio.Event
    got: list[tuple[float, bytes]] = field(default_factory=list)
    messages: int = 0
    _last: bytes = b""

    def data_received(self, data: bytes) -> None:
        self.got.append((time.monotonic(), data))
        self.messages += (self._last + data).count(b"\n\n")
        self._last = data[-1:]
        self.news.set()

    def delays(self) -> list[float]:
        """Seconds from the making to the arrival of each event."""
        ends = list(accumulate(len(data) for _, data in self.got))
        found = MADE_AT.finditer(b"".join(data for _, data in self.got))
        return [self.got[bisect_left(ends, at.end())][0] - int(at[1]) / 1e9 for at in found]


@dataclass
class Crowd:
    """Many followers of one stream."""

    followers: list[Follower]
    news: asyncio.Event

    async def have(self, count: int) -> None:
        """Until everybody has had so many messages."""
        while any(follower.messages < count for follower in self.followers):
            self.news.clear()
            await self.news.wait()

    def forget(self) -> None:
        for follower in self.followers:
            follower.got.clear()
            follower.messages = 0


@asynccontextmanager
async def following(port: int, path: str, count: int) -> AsyncIterator[Crowd]:
    """All connected."""
    news = asyncio.Event()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    transports, followers = [], []
    for _ in range(count):
        transport, follower = await loop.create_connection(lambda: Follower(news), "127.0.0.1", port)
        transport.write(request)
        transports.append(transport)
        followers.append(follower)
    crowd = Crowd(followers, news)
    try:
        await crowd.have(1)  # `connected`
        yield crowd
    finally:
        for transport in transports:
            transport.close()


@asynccontextmanager
async def serving(folder: str) -> AsyncIterator[dict[str, Any]]:
    """Both servers; what they say of themselves."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.fanout_server", folder, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        yield json.loads(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


@dataclass
class Figures:
    """Of one of the two."""

    joining: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)


async def follow_once(http: httpx.AsyncClient, port: int, to: str, path: str, clients: int) -> Figures:
    """One round of one of the two."""

    async def emit(times: int = 1, at_once: int = 1, pause: float = 0) -> None:
        wish = {"to": to, "times": times, "at_once": at_once, "pause": pause}
        (await http.post("/emit", json=wish)).raise_for_status()

    began = time.perf_counter()
    async with following(port, path, clients) as crowd:
        await emit()
        await crowd.have(2)
        joined = time.perf_counter() - began
        crowd.forget()
        await emit(times=SINGLE, pause=PAUSE)
        await crowd.have(SINGLE)
        delays = [delay for one in crowd.followers for delay in one.delays()]
        crowd.forget()
        began = time.perf_counter()
        await emit(at_once=BURST)
        await crowd.have(BURST)
        return Figures([joined], delays, [time.perf_counter() - began])


async def run(clients: int, rounds: int, folder: str) -> None:
    figures = {PEER: Figures(), OURS: Figures()}
    async with serving(folder) as said:
        address = f"http://127.0.0.1:{said['bare']}"
        last = 1  # the sandbox's own first event; a follower asks for what comes after the last one
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as http:
            for _ in range(rounds):
                ours = f"/api/v1/sandboxes/{said['sandbox']}/stream?last_event_id={last}"
                for name, to, path in ((PEER, "bare", "/stream"), (OURS, "ours", ours)):
                    found = await follow_once(http, said[to], to, path, clients)
                    figures[name].joining += found.joining
                    figures[name].delays += found.delays
                    figures[name].bursts += found.bursts
                last += 1 + SINGLE + BURST
    tell(figures, clients)


def tell(figures: dict[str, Figures], clients: int) -> None:
    report(
        f"{clients} clients connect and have their first event",
        {name: found.joining for name, found in figures.items()},
        PEER,
        percents=(50,),
    )
    report(
        f"delay of single events, one every {PAUSE * 1000:.0f} ms, to {clients} clients",
        {name: found.delays for name, found in figures.items()},
        PEER,
        percents=(50, 95, 99),
    )
    print(f"{BURST} events at once to {clients} clients")
    peer = median(figures[PEER].bursts)
    for name, found in figures.items():
        took = median(found.bursts)
        print(f"  {name:14} {BURST * clients / took:8.0f} events/s (x{peer / took:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(run(options.clients, options.rounds, folder))


if __name__ == "__main__":
    main()
