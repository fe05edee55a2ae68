"""A client whose network is a function of the test's."""

from collections.abc import Callable

import httpx

from ciab.sdk.client import Client

ID = "3f0c9d7e-0000-4000-8000-000000000001"
INFO = {
    "id": ID,
    "name": "box",
    "state": "pending",
    "persistence": "ephemeral",
    "agent_provider": "command",
    "labels": {},
    "created_at": "2026-01-02T03:04:05Z",
    "updated_at": "2026-01-02T03:04:05Z",
    "spec": {"agent_provider": "command"},
}
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler) -> Client:
    return Client("http://127.0.0.1:1", transport=httpx.MockTransport(handler), pause=lambda attempt: 0.0)


def error(status: int, code: str) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"code": code, "message": "said", "step": None, "hint": "do"}}
    )
