"""Sandboxes as the API shows them: with what they cost, and with times that people's clocks have."""

from collections.abc import Sequence

from ciab.control.costs import SandboxCost
from ciab.core.sandbox import Sandbox
from ciab.schema.sandboxes import Cost, SandboxInfo
from ciab.server.services import Services


async def shown(sandbox: Sandbox, services: Services) -> SandboxInfo:
    """One sandbox."""
    (info,) = await shown_all([sandbox], services)
    return info


async def shown_all(sandboxes: Sequence[Sandbox], services: Services) -> list[SandboxInfo]:
    """Several sandboxes, their costs asked for at once."""
    costs = await services.costs.of(sandboxes)
    return [_info(sandbox, costs.get(sandbox.id), services) for sandbox in sandboxes]


def shown_cost(cost: SandboxCost) -> Cost:
    """What a sandbox costs."""
    return Cost(usd=cost.usd, usd_hour=cost.usd_hour)


def _info(sandbox: Sandbox, cost: SandboxCost | None, services: Services) -> SandboxInfo:
    expires_at = services.wall_of(sandbox.expires_at) if sandbox.expires_at else None
    return SandboxInfo.from_core(sandbox, shown_cost(cost) if cost else None, expires_at)
