"""A whole outside world of fakes, and supervisors that live and die in it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from ciab.control.movers import movers_of
from ciab.control.pipeline import Step
from ciab.control.sandboxes import Sandboxes
from ciab.control.steps import STEPS
from ciab.control.supervisor import Supervisor
from ciab.control.work import Limits, Ports
from ciab.core.errors import CiabError
from ciab.core.ids import SandboxId
from ciab.core.machine import KeyPair, Login, Place, SandboxKeys, Site
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.testing.guest import FakeConnections
from ciab.testing.machines import FakeImages, FakeMachines
from ciab.testing.store import MemoryDatabase, utc_now

SITE = Site(Place("fake", "000000000000", "", "us-east-1"), Login("ubuntu", 22, "public"))
SPEC = Spec("command")


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


@dataclass
class World:
    """What outlives a process: database, machines, time."""

    database: MemoryDatabase = field(default_factory=MemoryDatabase)
    machines: FakeMachines = field(default_factory=FakeMachines)
    images: FakeImages = field(default_factory=FakeImages)
    connections: FakeConnections = field(default_factory=FakeConnections)
    clock: Clock = field(default_factory=Clock)
    limits: Limits = field(default_factory=Limits)
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
            site_of=self.site_of,
            mint_keys=self.mint,
            ticks=self.clock.ticks,
            sleep=self.clock.sleep,
            chance=lambda: 0.5,
            limits=self.limits,
        )

    def site_of(self, spec: Spec) -> Site:
        if isinstance(self.place, CiabError):
            raise self.place
        return self.place

    def mint(self) -> SandboxKeys:
        number = next(self.minted)
        pair = KeyPair(f"ssh-ed25519 AAAA{number}", Secret(f"private {number}"))
        return SandboxKeys(pair, replace(pair, public=f"ssh-ed25519 BBBB{number}"))

    @asynccontextmanager
    async def process(self, steps: Sequence[Step] = STEPS) -> AsyncIterator[tuple[Sandboxes, Supervisor]]:
        """One life of the control plane. It ends by cancellation, or dies of Killed."""
        supervisor = Supervisor(self.ports(), movers_of(steps))
        sandboxes = Sandboxes(
            self.database.store,
            supervisor,
            agents={"command"},
            check=lambda spec: SITE,
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

    def billable(self) -> list[str]:
        """Ids of machines that cost money now."""
        return [machine.id for machine in self.machines.alive()]


def with_step(name: str, change: Callable[[Step], Step]) -> list[Step]:
    """The pipeline with one step changed."""
    return [change(step) if step.name == name else step for step in STEPS]
