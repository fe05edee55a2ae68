"""What sweeps meet: a world whose things are old enough, and that remembers what was explained when."""

from collections.abc import Sequence
from datetime import timedelta

from ciab.control.policy import Policy
from ciab.control.reaper import Reaper, Verdict
from ciab.core.errors import RuntimeUnavailable
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.journal import Noted
from ciab.core.machine import Remain, RemainKind
from ciab.core.sandbox import Sandbox
from ciab.testing.remains import FakeRemains
from tests.unit.control.clocks import Clock
from tests.unit.control.world import Cloud, World

OTHER = OwnerId("somebody-else")
NOBODY = OwnerId("nobody")
OLD = 3600.0
"""Seconds; more than the grace period."""


class Things(FakeRemains):
    """Keeps what the journal had when each was ended, does not show some regions, and may show another
    thing at the second look."""

    becomes: Remain | None = None
    vanishes = False

    def __init__(self, world: World) -> None:
        super().__init__(world.machines, world.database.owner)
        self.explained: list[bool] = []
        self.blind: set[str] = set()
        self.looked: list[str] = []
        self._world = world

    async def look(self, region: str, owner: OwnerId) -> Sequence[Remain]:
        self.looked.append(region)
        if region in self.blind:
            raise RuntimeUnavailable(f"{region} does not answer")
        return await super().look(region, owner)

    async def again(self, remain: Remain) -> Remain | None:
        if self.becomes:
            self.put(self.becomes)
        return None if self.vanishes else await super().again(remain)

    async def end(self, remain: Remain) -> None:
        entries = [entry for journal in self._world.database.store.journal.values() for entry in journal]
        notes = [entry.message for entry in entries if isinstance(entry, Noted) and entry.action == "reaped"]
        self.explained.append(any(remain.id in message for message in notes))
        await super().end(remain)


def swept(policy: Policy | None = None) -> tuple[World, Things]:
    clock = Clock()
    world = World(clock=clock, machines=Cloud(now=clock.wall), policy=policy or Policy())
    world.remains = things = Things(world)
    return world, things


def thing(world: World, name: str, sandbox_id: str, *, age: float = OLD, region: str = "us-east-1") -> Remain:
    return Remain(
        kind=RemainKind.MACHINE,
        id=name,
        region=region,
        sandbox_id=SandboxId(sandbox_id),
        state="running",
        free=True,
        keep=False,
        born_at=world.clock.wall() - timedelta(seconds=age),
    )


async def ended(world: World) -> Sandbox:
    return await world.delete(await world.create())


async def twice(world: World, reaper: Reaper) -> Sequence[Verdict]:
    await reaper.sweep()
    world.clock.now += 1
    return await reaper.sweep()


def actions(verdicts: Sequence[Verdict]) -> dict[str, str]:
    return {verdict.remain.id: verdict.action for verdict in verdicts}
