"""What sandboxes cost: the report of `GET /costs`."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from ciab.core.states import State
from ciab.schema.sandboxes import Cost


class SandboxCost(BaseModel):
    """One sandbox's part of the report."""

    id: str
    name: str
    state: State
    workspace: str | None = None
    cost: Cost


class Budgets(BaseModel):
    """Dollars that may be spent; 0: no limit."""

    per_sandbox: float
    per_workspace: float
    per_day: float


class CostReport(BaseModel):
    """Money in dollars, at the moment `at`. What no price is known for is in no sum."""

    at: datetime
    currency: Literal["USD"] = "USD"
    today_usd: float
    """What all sandboxes together have cost since midnight UTC."""
    sandboxes: list[SandboxCost]
    """Those that live."""
    workspaces: dict[str, float]
    """By workspace, what all its sandboxes have cost, ended ones included."""
    budgets: Budgets
