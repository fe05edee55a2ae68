"""What sandboxes have cost, by what the provider charges an hour, and whether that is within the budgets.

An estimate from prices and times: it knows no discounts, taxes, traffic or minimum charges.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ciab.control.listing import every
from ciab.control.policy import Budgets
from ciab.control.work import Ports
from ciab.core.errors import BudgetExceeded
from ciab.core.ids import SandboxId
from ciab.core.sandbox import Sandbox
from ciab.core.spans import Span
from ciab.core.spec import Spec
from ciab.core.states import LIVE, State

WARN_AT = 0.8
"""The part of a budget from which its users are warned."""
PER_DAY = "per_day"
LOOKS = 5
"""How often the ledger and the meters are read until they fit; then they are as good as they get."""


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


@dataclass(frozen=True, slots=True)
class _Spent:
    """Sums at one moment."""

    at: datetime
    live: Sequence[Sandbox]
    today: float
    workspaces: Mapping[str, float]


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
        spent = await self._spent()
        costs = await self.of(spent.live)
        return Report(
            self._ports.billing.wall_of(spent.at),
            spent.today,
            [costs[sandbox.id] for sandbox in spent.live],
            spent.workspaces,
            self._budgets,
        )

    async def strains(self) -> Sequence[Strain]:
        """Every budget of which less than a fifth is left."""
        if not self._budgets.any:
            return []
        spent = await self._spent()
        found = [*self._groups(spent), *await self._singles(spent.live)]
        return [strain for strain in found if strain.spent >= WARN_AT * strain.limit]

    async def check_new(self, spec: Spec) -> None:
        """Raises BudgetExceeded when a sandbox of this spec may not be made or run now."""
        if not self._budgets.any:
            return
        if self._ports.prices.asked(spec) is None:
            raise BudgetExceeded(
                "there are budgets, and no price is known for this machine type: nobody could keep them",
                hint="set its dollars an hour in [runtime.ec2.prices]",
            )
        for strain in self._groups(await self._spent()):
            if strain.exceeded and strain.budget in (PER_DAY, _per_workspace(spec.workspace)):
                raise _refusal(strain)

    async def check_on(self, sandbox: Sandbox) -> None:
        """Raises BudgetExceeded when this sandbox may not run on."""
        await self.check_new(sandbox.spec)
        for strain in await self._singles([sandbox]):
            if strain.exceeded:
                raise _refusal(strain)

    async def _singles(self, sandboxes: Sequence[Sandbox]) -> Sequence[Strain]:
        limit = self._budgets.per_sandbox
        if not limit:
            return []
        costs = await self.of(sandboxes)
        return [
            Strain(f"per_sandbox of {sandbox.name}", costs[sandbox.id].usd or 0.0, limit, [sandbox])
            for sandbox in sandboxes
        ]

    def _groups(self, spent: _Spent) -> Sequence[Strain]:
        strains = []
        if limit := self._budgets.per_workspace:
            for name, dollars in spent.workspaces.items():
                members = [sandbox for sandbox in spent.live if sandbox.spec.workspace == name]
                strains.append(Strain(_per_workspace(name), dollars, limit, members))
        if limit := self._budgets.per_day:
            strains.append(Strain(PER_DAY, spent.today, limit, spent.live))
        return strains

    async def _spent(self) -> _Spent:
        # A meter that is closed between the two looks would be in neither of them or in both, and a budget
        # would seem larger or smaller than it is: the ledger must be the same before and after.
        closed = await self._closed()
        for _ in range(LOOKS):
            live = await every(self._ports.store, LIVE)
            before, closed = closed, await self._closed()
            if closed == before:
                break
        now, midnight = self._now()
        today, by_workspace = closed
        workspaces = defaultdict(float, by_workspace)
        for sandbox in live:
            today += _running(sandbox, now, midnight) or 0.0
            if sandbox.spec.workspace is not None:
                workspaces[sandbox.spec.workspace] += _running(sandbox, now) or 0.0
        return _Spent(now, live, today, dict(workspaces))

    async def _closed(self) -> tuple[float, Mapping[str, float]]:
        """The ledger's sums: of today, and of each workspace."""
        now, midnight = self._now()
        ledger = self._ports.ledger
        return await ledger.between(midnight, now), await ledger.by_workspace()

    def _now(self) -> tuple[datetime, datetime]:
        """And the midnight before."""
        now = self._ports.billing.now()
        return now, now.replace(hour=0, minute=0, second=0, microsecond=0)


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
    return Span(meter.usd_hour, max(meter.since, since) if since else meter.since, now).usd


def _per_workspace(name: str | None) -> str:
    return f"per_workspace of {name}"


def _refusal(strain: Strain) -> BudgetExceeded:
    later = " or wait for the next day (UTC)" if strain.budget == PER_DAY else ""
    return BudgetExceeded(f"{strain}, so nothing more may run on it", hint=f"raise it in [budgets]{later}")


SPENDING = frozenset({State.RUNNING, State.PAUSED})
"""States at rest in which a machine may be running: a paused one's when it is frozen."""
