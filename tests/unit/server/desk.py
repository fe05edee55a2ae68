"""The API over fakes: asked by httpx, or by ASGI itself where an exchange is to be cut or watched."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

from ciab.control.access import Access
from ciab.control.activity import Activity
from ciab.control.costs import Costs
from ciab.control.reach import Reach
from ciab.control.supervisor import Supervisor
from ciab.core.ids import SandboxId
from ciab.server.api import Rules, make_api
from ciab.server.services import Services
from ciab.testing.guest import FakeConnection
from ciab.testing.store import utc_now
from tests.unit.control.world import World

API = "/api/v1/sandboxes"
Message = dict[str, Any]


@dataclass
class Desk:
    """The app and what is behind it. `troubles` is what /ready is told."""

    world: World
    app: FastAPI
    services: Services
    supervisor: Supervisor
    http: httpx.AsyncClient
    troubles: list[str]
    activity: Activity

    async def create(self, **spec: object) -> dict[str, Any]:
        """A sandbox that has come to rest, as GET shows it."""
        made = await self.http.post(API, json={"agent_provider": "command", **spec})
        assert made.status_code == 202, made.text
        await self.supervisor.rest()
        shown: dict[str, Any] = (await self.http.get(f"{API}/{made.json()['id']}")).json()
        return shown

    async def inside(self, sandbox: dict[str, Any]) -> FakeConnection:
        """The connection into the sandbox's machine."""
        core = await self.world.database.store.get(SandboxId(sandbox["id"]))
        target = await self.services.reach.target(core)
        return await self.world.connections.connect(target)


@asynccontextmanager
async def desk_over(
    world: World, rules: Rules | None = None, keepalive_secs: float = 60
) -> AsyncIterator[Desk]:
    """A desk for one life of the control plane."""
    troubles: list[str] = []

    async def told() -> Sequence[str]:
        return troubles

    async with world.process() as (sandboxes, supervisor):
        ports, activity = world.ports(), Activity(world.clock.ticks)
        reach = Reach(ports, activity, sandboxes.resumed)
        services = Services(
            store=world.database.store,
            events=world.database.events,
            sandboxes=sandboxes,
            reach=reach,
            access=Access(reach, utc_now),
            costs=Costs(ports),
            reaper=world.reaper(),
            wall_of=ports.steady.wall_of,
            troubles=told,
            digest=lambda data: hashlib.sha256(data).hexdigest(),
            backend="fake",
            keepalive_secs=keepalive_secs,
        )
        app = make_api(services, rules or Rules())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9090") as http:
            yield Desk(world, app, services, supervisor, http, troubles, activity)


@dataclass
class Exchange:
    """One request, message by message. The client is gone after `leave`."""

    app: FastAPI
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "http"
    sent: "asyncio.Queue[Message]" = field(default_factory=asyncio.Queue)
    _coming: "asyncio.Queue[Message]" = field(default_factory=asyncio.Queue)

    def begin(self) -> "asyncio.Task[None]":
        """The app's work on it."""
        first = {"type": "http.request", "body": self.body, "more_body": False}
        self._coming.put_nowait(first if self.kind == "http" else {"type": "websocket.connect"})
        return asyncio.create_task(self._run())

    async def _run(self) -> None:
        async def send(message: MutableMapping[str, Any]) -> None:
            self.sent.put_nowait(dict(message))

        await self.app(self._scope(), self._coming.get, send)

    def leave(self) -> None:
        """The client goes away."""
        self._coming.put_nowait({"type": f"{self.kind}.disconnect"})

    async def text(self) -> str:
        """The next piece of the body."""
        while True:
            message = await self.sent.get()
            if message["type"].endswith(".body"):
                return str(message["body"].decode())

    def _scope(self) -> Message:
        path, _, query = self.path.partition("?")
        headers = {"host": "127.0.0.1:9090", "content-type": "application/json", **self.headers}
        return {
            "type": self.kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http" if self.kind == "http" else "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 9090),
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }


def frames(text: str) -> list[dict[str, Any]]:
    """The messages of a whole event stream: `id` and `event` as sent, `data` read."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append({**fields, "data": json.loads(fields["data"])})
    return found
