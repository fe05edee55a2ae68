"""A whole outside world of fakes, and supervisors that live and die in it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ciab.control.activity import Activity
from ciab.control.costs import Costs
from ciab.control.movers import movers_of
from ciab.control.pipeline import Step
from ciab.control.policy import Policy
from ciab.control.pulses import Pulses
from ciab.control.reach import Reach
from ciab.control.reaper import Reaper
from ciab.control.reconcile import Reconciler
from ciab.control.sandboxes import Sandboxes
from ciab.control.steady import Steady
from ciab.control.steps import STEPS
from ciab.control.supervisor import Supervisor
from ciab.control.watch import Watch
from ciab.control.work import Limits, Ports
from ciab.core.errors import CiabError, ConfigError
from ciab.core.ids import SandboxId
from ciab.core.machine import KeyPair, Login, Place, Site
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.testing.guest import FakeConnections
from ciab.testing.images import FakeImages
from ciab.testing.machines import FakeMachines
from ciab.testing.prices import FakePrices
from ciab.testing.remains import FakeRemains
from ciab.testing.store import MemoryDatabase, utc_now

SITE = Site(Place("fake", "000000000000", "", "us-east-1"), Login("ubuntu", 22, "public"))
SPEC = Spec("command")
EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Killed(BaseException):
    """The process died here: no handler of the program sees this as an error."""


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def ticks(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)


@dataclass
class World:
    """What outlives a process: database, machines, time."""

    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    machines: FakeMachines = field(default_factory=FakeMachines)
    images: FakeImages = field(default_factory=FakeImages)
    connections: FakeConnections = field(default_factory=FakeConnections)
    clock: Clock = field(default_factory=Clock)
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    prices: FakePrices = field(default_factory=FakePrices)
    named: dict[str, KeyPair] = field(default_factory=dict)
    _remains: FakeRemains | None = None
    deaths: int = 0
    place: Site | CiabError = SITE
    minted: "itertools.count[int]" = field(default_factory=itertools.count)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def ports(self) -> Ports:
        return Ports(
            store=self.database.store,
            keys=self.database.keys,
            attempts=self.database.attempts,
            machines=self.machines,
            images=self.images,
            connections=self.connections,
            remains=self.remains,
            prices=self.prices,
            ledger=self.database.ledger,
            anchors=self.database.anchors,
            site_of=self.site_of,
            mint_key=self.mint_key,
            named_key=self.named_key,
            steady=self.steady(),
            billing=self.steady(),
            ticks=self.clock.ticks,
            sleep=self.clock.sleep,
            chance=lambda: 0.5,
            limits=self.limits,
            policy=self.policy,
        )

    @property
    def remains(self) -> FakeRemains:
        """The same sweepable things for every process."""
        if self._remains is None:
            self._remains = FakeRemains(self.machines, self.database.owner)
        return self._remains

    def steady(self) -> Steady:
        """A steady clock that shows the world's time."""
        return Steady(self.clock.ticks, self.clock.wall, None)

    def site_of(self, spec: Spec) -> Site:
        if isinstance(self.place, CiabError):
            raise self.place
        return self.place

    def mint_key(self) -> KeyPair:
        number = next(self.minted)
        return KeyPair(f"ssh-ed25519 AAAA{number}", Secret(f"private {number}"))

    async def named_key(self, name: str) -> KeyPair:
        if name not in self.named:
            raise ConfigError(f"there is no key ~/.ssh/{name}.pem", hint="put it there")
        return self.named[name]

    @asynccontextmanager
    async def process(self, steps: Sequence[Step] = STEPS) -> AsyncIterator[tuple[Sandboxes, Supervisor]]:
        """One life of the control plane. It ends by cancellation, or dies of Killed."""
        ports = self.ports()
        supervisor = Supervisor(ports, movers_of(steps))
        sandboxes = Sandboxes(
            ports,
            supervisor,
            Costs(ports),
            agents={"command"},
            clock=utc_now,
            new_id=lambda: SandboxId(f"00000000-0000-4000-8000-{next(self.ids):012d}"),
            new_name=lambda: f"name-{next(self.ids)}",
        )
        started = asyncio.Event()
        running = asyncio.create_task(supervisor.run(started))
        await started.wait()
        try:
            yield sandboxes, supervisor
        finally:
            running.cancel()
            (end,) = await asyncio.gather(running, return_exceptions=True)
            self.deaths += isinstance(end, BaseExceptionGroup)

    async def create(self, spec: Spec = SPEC, steps: Sequence[Step] = STEPS) -> Sandbox:
        """One life in which a sandbox is asked for; it ends when all is at rest, or by death."""
        async with self.process(steps) as (sandboxes, supervisor):
            made = await sandboxes.create(spec, None)
            await supervisor.rest()
        return await self.sandbox(made.id)

    async def delete(self, sandbox: Sandbox, steps: Sequence[Step] = STEPS) -> Sandbox:
        """One life in which it is deleted."""
        async with self.process(steps) as (sandboxes, supervisor):
            await sandboxes.delete(sandbox.id)
            await supervisor.rest()
        return await self.sandbox(sandbox.id)

    async def go_on(self, sandbox: Sandbox) -> Sandbox:
        """The next life: it takes up whatever is moving until all is at rest."""
        async with self.process() as (_, supervisor):
            await supervisor.rest()
        return await self.sandbox(sandbox.id)

    async def sandbox(self, sandbox_id: SandboxId) -> Sandbox:
        return await self.database.store.get(sandbox_id)

    def reach(self, sandboxes: Sandboxes) -> Reach:
        """The way into machines."""
        return Reach(self.ports(), Activity(self.clock.ticks), sandboxes.resumed)

    def watch(
        self, sandboxes: Sandboxes, supervisor: Supervisor, activity: Activity | None = None
    ) -> tuple[Watch, Pulses]:
        """What looks after sandboxes at rest; rounds and pulses are the test's to call."""
        ports = self.ports()
        activity = activity or Activity(self.clock.ticks)
        pulses = Pulses(ports, activity)
        reconciler = Reconciler(ports, supervisor.wake)
        return Watch(
            ports, sandboxes, Costs(ports), activity=activity, reconciler=reconciler, pulses=pulses
        ), pulses

    def reaper(self) -> Reaper:
        """The sweep of this installation."""
        return Reaper(self.ports(), self.database.owner, SITE.place)

    def billable(self) -> list[str]:
        """Ids of machines that cost money now."""
        return [machine.id for machine in self.machines.alive()]


def with_step(name: str, change: Callable[[Step], Step]) -> list[Step]:
    """The pipeline with one step changed."""
    return [change(step) if step.name == name else step for step in STEPS]
