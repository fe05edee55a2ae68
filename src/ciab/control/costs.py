"""What sandboxes have cost, by what the provider charges an hour, and whether that is within the budgets.

An estimate from prices and times: it knows no discounts, taxes, traffic or minimum charges.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ciab.control.listing import every
from ciab.control.policy import Budgets
from ciab.control.work import Ports
from ciab.core.errors import BudgetExceeded
from ciab.core.ids import SandboxId
from ciab.core.sandbox import Sandbox
from ciab.core.spec import Spec
from ciab.core.states import LIVE, State

WARN_AT = 0.8
"""The part of a budget from which its users are warned."""


@dataclass(frozen=True, slots=True)
class SandboxCost:
    """Dollars so far, and dollars an hour from now on. None: no price is known for its machine."""

    sandbox: Sandbox
    usd: float | None
    usd_hour: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Live sandboxes, what all of them and those that have ended cost today, and what workspaces cost."""

    at: datetime
    today_usd: float
    sandboxes: Sequence[SandboxCost]
    workspaces: Mapping[str, float]
    budgets: Budgets


@dataclass(frozen=True, slots=True)
class Strain:
    """A budget that is nearly or wholly used, and the live sandboxes whom that concerns."""

    budget: str
    spent: float
    limit: float
    concerns: Sequence[Sandbox]

    @property
    def exceeded(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= self.limit

    def __str__(self) -> str:
        return f"the budget {self.budget}: ${self.spent:.2f} of ${self.limit:.2f} are spent"


class Costs:
    """Sums over the ledger and over the meters that still run."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._budgets = ports.policy.budgets

    async def of(self, sandboxes: Collection[Sandbox]) -> Mapping[SandboxId, SandboxCost]:
        """What each of them has cost."""
        closed = await self._ports.ledger.by_sandbox([sandbox.id for sandbox in sandboxes])
        now = self._ports.billing.now()
        return {sandbox.id: _cost(sandbox, closed.get(sandbox.id, 0.0), now) for sandbox in sandboxes}

    async def report(self) -> Report:
        """Everything at once."""
        now = self._ports.billing.now()
        live = await every(self._ports.store, LIVE)
        costs = await self.of(live)
        return Report(
            self._ports.billing.wall_of(now),
            await self._today(live, now),
            [costs[sandbox.id] for sandbox in live],
            await self._by_workspace(live, now),
            self._budgets,
        )

    async def strains(self) -> Sequence[Strain]:
        """Every budget of which less than a fifth is left."""
        if not self._budgets.any:
            return []
        live = await every(self._ports.store, LIVE)
        found = [*await self._sandboxes_strained(live), *await self._groups_strained(live)]
        return [strain for strain in found if strain.limit and strain.spent >= WARN_AT * strain.limit]

    async def check_new(self, spec: Spec) -> None:
        """Raises BudgetExceeded when a sandbox of this spec may not be made now."""
        if not self._budgets.any:
            return
        if self._ports.prices.asked(spec) is None:
            raise BudgetExceeded(
                "there are budgets, and no price is known for this machine type: nobody could keep them",
                hint="set its dollars an hour in [runtime.ec2.prices]",
            )
        live = await every(self._ports.store, LIVE)
        for strain in await self._groups_strained(live):
            if strain.exceeded and strain.limit and _belongs(spec, strain):
                raise _refusal(strain)

    async def check_on(self, sandbox: Sandbox) -> None:
        """Raises BudgetExceeded when this sandbox may not run on."""
        if not self._budgets.any:
            return
        await self.check_new(sandbox.spec)
        for strain in await self._sandboxes_strained([sandbox]):
            if strain.exceeded and strain.limit:
                raise _refusal(strain)

    async def _sandboxes_strained(self, live: Sequence[Sandbox]) -> list[Strain]:
        limit = self._budgets.per_sandbox
        if not limit:
            return []
        costs = await self.of(live)
        return [
            Strain(f"per_sandbox of {sandbox.name}", costs[sandbox.id].usd or 0.0, limit, [sandbox])
            for sandbox in live
        ]

    async def _groups_strained(self, live: Sequence[Sandbox]) -> list[Strain]:
        now = self._ports.billing.now()
        strains = []
        if limit := self._budgets.per_workspace:
            for name, spent in (await self._by_workspace(live, now)).items():
                members = [sandbox for sandbox in live if sandbox.spec.workspace == name]
                strains.append(Strain(f"per_workspace of {name}", spent, limit, members))
        if limit := self._budgets.per_day:
            strains.append(Strain("per_day", await self._today(live, now), limit, live))
        return strains

    async def _by_workspace(self, live: Sequence[Sandbox], now: datetime) -> Mapping[str, float]:
        sums: dict[str, float] = defaultdict(float, await self._ports.ledger.by_workspace())
        for sandbox in live:
            if sandbox.spec.workspace is not None:
                sums[sandbox.spec.workspace] += _running(sandbox, now) or 0.0
        return dict(sums)

    async def _today(self, live: Sequence[Sandbox], now: datetime) -> float:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        open_ones = sum(_running(sandbox, now, midnight) or 0.0 for sandbox in live)
        return await self._ports.ledger.between(midnight, now) + open_ones


def _cost(sandbox: Sandbox, closed: float, now: datetime) -> SandboxCost:
    open_one = _running(sandbox, now)
    usd_hour = sandbox.meter.usd_hour if sandbox.meter else 0.0
    return SandboxCost(sandbox, None if open_one is None else closed + open_one, usd_hour)


def _running(sandbox: Sandbox, now: datetime, since: datetime | None = None) -> float | None:
    """What the sandbox's open meter has come to, from `since` on."""
    meter = sandbox.meter
    if meter is None:
        return 0.0
    if meter.usd_hour is None:
        return None
    begun = max(meter.since, since) if since else meter.since
    return max((now - begun) / timedelta(hours=1), 0.0) * meter.usd_hour


def _belongs(spec: Spec, strain: Strain) -> bool:
    return strain.budget in ("per_day", f"per_workspace of {spec.workspace}")


def _refusal(strain: Strain) -> BudgetExceeded:
    later = " or wait for the next day (UTC)" if strain.budget == "per_day" else ""
    return BudgetExceeded(f"{strain}, so nothing more may run on it", hint=f"raise it in [budgets]{later}")


SPENDING = frozenset({State.RUNNING, State.PAUSED})
"""States at rest in which a machine may be running: a paused one's when it is frozen."""
