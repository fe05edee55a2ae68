"""The FastAPI app: routes, layers, and the OpenAPI document. It starts nothing and owns nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

import ciab
from ciab.core.secret import Secret
from ciab.server import errors
from ciab.server.allowance import InFlight
from ciab.server.auth import OPEN, Keyring
from ciab.server.gate import Gate, OriginGate
from ciab.server.origins import Origins
from ciab.server.routes import access, costs, files, health, reaper, sandboxes, stream
from ciab.server.routes import exec as commands
from ciab.server.services import Services
from ciab.server.sse import MEDIA_TYPE
from ciab.server.tracing import Tracing

_DESCRIPTION = """Coding agents in sandboxes of their own.

A sandbox is named by its id, a unique prefix of it, or its name. Besides the routes below,
`GET /api/v1/sandboxes/{reference}/proxy` is a WebSocket: the bytes of the machine's SSH port, in both
directions, as binary messages."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may use the API, from where, and for how long one request may take."""

    api_keys: Sequence[Secret] = ()
    public_hosts: Sequence[str] = ()
    cors_origins: Sequence[str] = ()
    request_timeout_secs: float = 300.0
    in_flight: InFlight = field(default_factory=InFlight)


def make_api(services: Services, rules: Rules) -> FastAPI:
    """The ASGI app over these services."""
    app = FastAPI(
        title="CIAB",
        version=ciab.__version__,
        description=_DESCRIPTION,
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,  # their pages load programs from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    for module in (health, sandboxes, commands, files, stream, access, costs, reaper):
        app.include_router(module.router)
    errors.install(app)
    _add_layers(app, services, rules)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _add_layers(app: FastAPI, services: Services, rules: Rules) -> None:
    """Innermost first. Keys come after CORS: a browser asks for permission without one."""
    app.add_middleware(
        Gate,
        keyring=Keyring(rules.api_keys),
        in_flight=rules.in_flight,
        closing=services.closing,
        request_timeout_secs=rules.request_timeout_secs,
    )
    if rules.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(rules.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE", "HEAD"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=[
                "X-Request-ID",
                "X-Next-Cursor",
                "Link",
                "X-CIAB-Released-Instance",
                "X-CIAB-Notice",
            ],
        )
    app.add_middleware(OriginGate, origins=Origins(rules.public_hosts, rules.cors_origins))
    app.add_middleware(Tracing)


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with both ways to send a key."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        document["security"] = [{"bearer": []}, {"key": []}]
        for path in OPEN & document["paths"].keys():
            for operation in document["paths"][path].values():
                operation["security"] = []
        for methods in document["paths"].values():
            for operation in methods.values():
                _refuse_in_json(operation["responses"])
        app.openapi_schema = document
    return app.openapi_schema


def _refuse_in_json(responses: dict[str, Any]) -> None:
    """The framework writes a stream's type to its refusals too."""
    for status, response in responses.items():
        content = response.get("content", {})
        if status != "200" and MEDIA_TYPE in content:
            content["application/json"] = content.pop(MEDIA_TYPE)
