"""Whether the server lives, and whether it can work. Open to everybody who may reach the server."""

from typing import Literal

from fastapi import APIRouter, Response

import ciab
from ciab.schema.health import Health, Ready
from ciab.server.replies import reply
from ciab.server.services import Serving

router = APIRouter(tags=["health"])


@router.get("/health", response_model=Health)
async def health() -> Response:
    """The process answers."""
    return reply(Health(version=ciab.__version__))


@router.get("/ready", response_model=Ready, responses={503: {"model": Ready}})
async def ready(services: Serving) -> Response:
    """503 with reasons while the database or the runtime cannot be used."""
    reasons = list(await services.troubles())
    if services.closing.begun:
        reasons.append("the server is ending")
    status: Literal["ready", "not_ready"] = "not_ready" if reasons else "ready"
    warnings = list(services.warnings)
    answer = Ready(status=status, reasons=reasons, warnings=warnings, backend=services.backend)
    return reply(answer, 503 if reasons else 200)
