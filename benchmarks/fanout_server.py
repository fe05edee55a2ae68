"""The process that `benchmarks.fanout` follows: our event stream, and a bare one beside it in the same loop.

Ours is the real API over the real database. The bare one is what Starlette needs to send the same bytes from
memory to everybody: no database, no replay, no keys, no watching of the client. `POST /emit` to the bare one
makes events on either, and answers when they are made. Every event says in its message when it was made, in
ns of CLOCK_MONOTONIC, which all processes share.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ciab.adapters.db import open_database
from ciab.adapters.vault import AesGcmVault, Key
from ciab.core.events import StreamEvent as Event
from ciab.core.journal import StepMoved, StepStatus
from ciab.core.sandbox import Sandbox
from ciab.core.states import State
from ciab.schema.events import StreamEvent
from ciab.server import sse
from ciab.testing.store import MemoryDatabase
from tests.databases import a_sandbox
from tests.unit.control.world import World
from tests.unit.server.desk import desk_over

Payload = bytes


class Bare:
    """Everybody who follows has a queue."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[Payload]] = set()
        self.last = 0

    async def stream(self, request: Request) -> Response:
        return StreamingResponse(self._story(), media_type=sse.MEDIA_TYPE)

    async def _story(self) -> AsyncIterator[Payload]:
        queue: asyncio.Queue[Payload] = asyncio.Queue()
        self.queues.add(queue)
        try:
            yield b"event: connected\ndata: {}\n\n"
            while True:
                yield await queue.get()
        finally:
            self.queues.discard(queue)

    async def emit(self, sandbox: Sandbox, moves: list[StepMoved]) -> None:
        """The same bytes as ours, made once for all."""
        for move in moves:
            self.last += 1
            data = {"step": move.step, "status": move.status, "message": move.message}
            event = Event(self.last, sandbox.id, "provisioning_step", data, datetime.now(UTC))
            payload = sse.message(StreamEvent.from_core(event), event.event_type, event.id)
            for queue in self.queues:
                queue.put_nowait(payload)


class Ours:
    """A sandbox that the events are about."""

    def __init__(self, world: World, sandbox: Sandbox) -> None:
        self.world, self.sandbox = world, sandbox

    async def emit(self, sandbox: Sandbox, moves: list[StepMoved]) -> None:
        """Saved in one transaction, as a step's moves are."""
        self.sandbox = await self.world.database.store.save(self.sandbox, *moves)


async def serve(folder: Path) -> None:
    vault = AesGcmVault(Key.fresh())
    async with open_database(folder / "ciab.db", vault, lambda: datetime.now(UTC), 100_000) as database:
        world = World(cast(MemoryDatabase, database))  # a world of fakes around a real database
        sandbox = await database.store.add(a_sandbox(state=State.RUNNING))
        bare, ours = Bare(), Ours(world, sandbox)

        async def emit(request: Request) -> Response:
            wish = await request.json()
            where = ours if wish["to"] == "ours" else bare
            for _ in range(wish["times"]):
                now = str(time.monotonic_ns())
                moves = [StepMoved("run_scripts", StepStatus.BEGUN, now) for _ in range(wish["at_once"])]
                await where.emit(sandbox, moves)
                await asyncio.sleep(wish["pause"])
            return Response()

        routes = [Route("/stream", bare.stream), Route("/emit", emit, methods=["POST"])]
        async with desk_over(world) as desk, asyncio.TaskGroup() as group:
            servers, ports = [], []
            for app in (desk.app, Starlette(routes=routes)):
                listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
                config = uvicorn.Config(app, lifespan="off", log_level="warning", timeout_graceful_shutdown=1)
                servers.append(uvicorn.Server(config))
                ports.append(listener.getsockname()[1])
                group.create_task(servers[-1].serve([listener]))
            said = {"ours": ports[0], "bare": ports[1], "sandbox": sandbox.id}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    uvloop_or_not = uvicorn.Config(Starlette()).get_loop_factory()
    with asyncio.Runner(loop_factory=uvloop_or_not) as runner:
        runner.run(serve(Path(sys.argv[1])))
