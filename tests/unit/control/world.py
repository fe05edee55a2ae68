"""A whole outside world of fakes, and supervisors that live and die in it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

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
from ciab.core.journal import Noted
from ciab.core.machine import KeyPair, Login, Machine, MachineState, Place, Site
from ciab.core.ports import Anchor
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.testing.guest import FakeConnections
from ciab.testing.images import FakeImages
from ciab.testing.machines import FakeMachines
from ciab.testing.prices import FakePrices
from ciab.testing.remains import FakeRemains
from ciab.testing.store import MemoryDatabase
from tests.unit.control.clocks import Clock
from tests.unit.control.peril import Peril

SITE = Site(Place("fake", "000000000000", "", "us-east-1"), Login("ubuntu", 22, "public"))
SPEC = Spec("command")


class Cloud(FakeMachines):
    """Machines whose inside boots with them."""

    inside: FakeConnections

    async def start(self, machine: Machine) -> None:
        before = self.now(machine.id)
        try:
            await super().start(machine)
        finally:
            started = before.state is MachineState.STOPPED and self.now(machine.id).state is not before.state
            if started and before.reason != "hibernated by CIAB":
                self.inside.care(machine.sandbox_id).reboot()


@dataclass(frozen=True)
class Life:
    """One process that also looks after what is at rest."""

    sandboxes: Sandboxes
    supervisor: Supervisor
    activity: Activity
    reach: Reach


@dataclass
class World:
    """What outlives a process: database, machines, time."""

    machines: FakeMachines = field(default_factory=Cloud)
    images: FakeImages = field(default_factory=FakeImages)
    connections: FakeConnections = field(default_factory=FakeConnections)
    clock: Clock = field(default_factory=Clock)
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    prices: FakePrices = field(default_factory=FakePrices)
    named: dict[str, KeyPair] = field(default_factory=dict)
    deaths: int = 0
    place: Site | CiabError = SITE
    minted: "itertools.count[int]" = field(default_factory=itertools.count)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    peril: Peril | None = None
    """What strikes the calls of the process that lives now."""
    database: MemoryDatabase = field(init=False)
    _remains: FakeRemains | None = None
    _clocks: tuple[Steady, Steady] | None = None

    def __post_init__(self) -> None:
        self.database = MemoryDatabase(self.clock.wall)
        if isinstance(self.machines, Cloud):
            self.machines.inside = self.connections

    def ports(self) -> Ports:
        steady, billing = self._clocks = self._clocks or (self._steady(), self._steady())
        ports = Ports(
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
            steady=steady,
            billing=billing,
            ticks=self.clock.ticks,
            sleep=self.clock.sleep,
            chance=lambda: 0.5,
            limits=self.limits,
            policy=self.policy,
        )
        if self.peril is None:
            return ports
        return replace(
            ports,
            store=self.peril.around(ports.store, "store"),
            machines=self.peril.around(ports.machines, "machines"),
            connections=self.peril.around(ports.connections, "connections"),
        )

    @property
    def remains(self) -> FakeRemains:
        """The same sweepable things for every process."""
        if self._remains is None:
            self._remains = FakeRemains(self.machines, self.database.owner)
        return self._remains

    @remains.setter
    def remains(self, remains: FakeRemains) -> None:
        self._remains = remains

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

    def desk(self, supervisor: Supervisor | None = None) -> Sandboxes:
        """Where users ask. Without a supervisor that runs, what they ask for is recorded and stays so."""
        ports = self.ports()
        return Sandboxes(
            ports,
            supervisor or Supervisor(ports),
            Costs(ports),
            agents={"command"},
            clock=self.clock.wall,
            new_id=lambda: SandboxId(f"00000000-0000-4000-8000-{next(self.ids):012d}"),
            new_name=lambda: f"name-{next(self.ids)}",
        )

    @asynccontextmanager
    async def process(self, steps: Sequence[Step] = STEPS) -> AsyncIterator[tuple[Sandboxes, Supervisor]]:
        """One life of the control plane. It ends by cancellation, or dies of Killed."""
        anchors = self.database.anchors
        self._clocks = (
            self._steady(await anchors.get("steady")),
            self._steady(await anchors.get("billing")),
        )
        supervisor = Supervisor(self.ports(), movers_of(steps))
        started = asyncio.Event()
        running = asyncio.create_task(supervisor.run(started))
        starting = asyncio.create_task(started.wait())
        await asyncio.wait({running, starting}, return_when=asyncio.FIRST_COMPLETED)
        try:
            yield self.desk(supervisor), supervisor
        finally:
            starting.cancel()
            running.cancel()
            (end,) = await asyncio.gather(running, return_exceptions=True)
            self.deaths += isinstance(end, BaseExceptionGroup)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Life]:
        """One life that also looks after what is at rest; for `in_no_time`."""
        async with self.process() as (sandboxes, supervisor):
            activity = Activity(self.clock.ticks)
            watch, _ = self.watch(sandboxes, supervisor, activity)
            watching = asyncio.create_task(watch.run())
            try:
                yield Life(sandboxes, supervisor, activity, self.reach(sandboxes, activity))
            finally:
                watching.cancel()
                (end,) = await asyncio.gather(watching, return_exceptions=True)
                assert isinstance(end, asyncio.CancelledError), end

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

    async def ask(self, verb: str, sandbox: Sandbox) -> Sandbox:
        """One life in which it is started, stopped, paused or resumed."""
        async with self.process() as (sandboxes, supervisor):
            await getattr(sandboxes, verb)(sandbox.id)
            await supervisor.rest()
        return await self.sandbox(sandbox.id)

    async def go_on(self, sandbox: Sandbox) -> Sandbox:
        """The next life: it takes up whatever is moving until all is at rest."""
        async with self.process() as (_, supervisor):
            await supervisor.rest()
        return await self.sandbox(sandbox.id)

    async def sandbox(self, sandbox_id: SandboxId) -> Sandbox:
        return await self.database.store.get(sandbox_id)

    def machine(self, sandbox: Sandbox) -> Machine:
        """The sandbox's machine as it really is."""
        assert sandbox.machine
        return self.machines.now(sandbox.machine.id)

    def notes(self, sandbox: Sandbox) -> list[str]:
        """What was noted about it, as machine words."""
        return [e.action for e in self.database.store.journal[sandbox.id] if isinstance(e, Noted)]

    def reach(self, sandboxes: Sandboxes, activity: Activity | None = None) -> Reach:
        """The way into machines."""
        return Reach(self.ports(), activity or Activity(self.clock.ticks), sandboxes.resumed)

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

    def _steady(self, anchor: Anchor | None = None) -> Steady:
        return Steady(self.clock.ticks, self.clock.wall, anchor)


def with_step(name: str, change: Callable[[Step], Step]) -> list[Step]:
    """The pipeline with one step changed."""
    return [change(step) if step.name == name else step for step in STEPS]
