"""Whether the server lives, and whether it can work."""

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    """`GET /health`: the process answers."""

    status: Literal["ok"] = "ok"
    version: str


class Ready(BaseModel):
    """`GET /ready`: with 503, `reasons` say what is not usable."""

    status: Literal["ready", "not_ready"]
    reasons: list[str] = []
    warnings: list[str] = []
    """What a user should know although all works: that local machines are not isolated."""
    backend: str | None = None
