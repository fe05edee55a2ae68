"""A runtime under a contract suite: the fake, or EC2's adapter against a local region."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from ciab.core.errors import CapacityUnavailable
from ciab.core.ids import SandboxId
from ciab.core.machine import Cause, LaunchOrder, Login, Machine, MachineImage, MachineState, Place, Site
from ciab.core.ports import Machines, Remains
from ciab.core.spec import Spec
from ciab.testing.machines import FakeMachines
from ciab.testing.remains import FakeRemains
from ciab.testing.store import MemoryAttempts
from tests.ec2 import OWNER, account, an_order
from tests.region import RunningRegion

PLACE = Place("fake", "", "", "us-east-1")
IMAGE = MachineImage("ami-00000000000000001", "/dev/sda1", "x86_64")
LOSABLE = {
    "launch": "RunInstances",
    "stop": "StopInstances",
    "start": "StartInstances",
}


@dataclass
class Bench:
    """A runtime, and what a test asks its world to do.

    `lose` makes the next call of a method do its work and lose the answer; `billable` are the ids of a
    sandbox's machines that we pay for; `by_hand` does as the provider's console does: "stop", "start",
    "terminate".
    """

    machines: Machines
    remains: Remains
    order: LaunchOrder
    lose: Callable[[str], Awaitable[None]]
    refuse_launch: Callable[[], Awaitable[None]]
    billable: Callable[[SandboxId], Awaitable[list[str]]]
    by_hand: Callable[[str, str], Awaitable[None]]

    @property
    def place(self) -> Place:
        return self.order.site.place

    async def seen(self) -> Machine | None:
        return await self.machines.find(self.order.sandbox_id, self.place)

    async def until(self, *states: MachineState) -> Machine:
        """The machine once a lookup shows it so."""
        async with asyncio.timeout(30):
            while True:
                seen = await self.seen()
                if seen and seen.state in states:
                    return seen

    async def running(self, spec: Spec | None = None) -> Machine:
        """Its machine, launched and up."""
        if spec:
            self.order = replace(self.order, spec=spec)
        await self.machines.launch(self.order, MemoryAttempts())
        return await self.until(MachineState.RUNNING)


def on_fakes(**settings: Any) -> Bench:
    """`settings` are those of [runtime.ec2] that change what a machine can do."""
    machines = FakeMachines(
        lag=2,
        pending=2,
        stopping=2,
        spot=settings.get("spot", False),
        hibernates=settings.get("hibernate_on_pause", False),
    )

    async def lose(method: str) -> None:
        machines.lose_next.add(method)

    async def refuse() -> None:
        machines.fail_next["launch"] = CapacityUnavailable("no capacity")

    async def billable(sandbox_id: SandboxId) -> list[str]:
        return [machine.id for machine in machines.alive() if machine.sandbox_id == sandbox_id]

    async def by_hand(verb: str, machine_id: str) -> None:
        match verb:
            case "stop":
                machines.stopped_by_hand(machine_id)
            case "start":
                machines.started_by_hand(machine_id)
            case _:
                machines.end(machine_id, "terminated by somebody else", Cause.ASKED)

    order = an_order(Site(PLACE, Login("ubuntu", 22, "public")), IMAGE)
    return Bench(machines, FakeRemains(machines, OWNER), order, lose, refuse, billable, by_hand)


@asynccontextmanager
async def on_a_region(here: RunningRegion, **settings: Any) -> AsyncIterator[Bench]:
    """An installation with these settings of [runtime.ec2]."""
    await here.set_faults(lose=[], capacity=[], error=[])
    async with account(here, **settings) as made:

        async def lose(method: str) -> None:
            await here.set_faults(lose=[{"action": LOSABLE[method], "times": 1}])

        async def refuse() -> None:
            await here.set_faults(capacity=[{}])

        async def billable(sandbox_id: SandboxId) -> list[str]:
            # late visibility hides nothing from who looks long enough
            await asyncio.sleep(0.25)
            return [instance["InstanceId"] for instance in await made.instances(sandbox_id)]

        async def by_hand(verb: str, machine_id: str) -> None:
            client = await made.client()
            await getattr(client, f"{verb}_instances")(InstanceIds=[machine_id])

        order = await made.order()
        ec2 = made.ec2
        yield Bench(ec2.machines, ec2.remains, order, lose, refuse, billable, by_hand)
        await here.set_faults(lose=[], capacity=[], error=[])
        for instance in await made.instances():
            await by_hand("terminate", instance["InstanceId"])
