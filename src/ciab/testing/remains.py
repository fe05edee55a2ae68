"""What a sweep sees, in memory: the fake's machines, and whatever a test puts beside them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ciab.core.errors import CiabError, RuntimeUnavailable
from ciab.core.ids import OwnerId
from ciab.core.machine import Cause, Machine, MachineState, Remain, RemainKind
from ciab.testing.machines import FakeMachines

_FREE = frozenset({MachineState.ENDING, MachineState.ENDED})


class FakeRemains:
    """Remains. `machines` are all of `owner`'s; `keep` are ids that carry the tag that spares them.

    `fail_next` raises its fault once, at the next call of the method it names; `lose_next` names methods
    whose next call does its work and then raises RuntimeUnavailable.
    """

    def __init__(
        self, machines: FakeMachines, owner: OwnerId, *, fail_next: Mapping[str, CiabError] | None = None
    ) -> None:
        self.fail_next: dict[str, CiabError] = dict(fail_next or {})
        self.lose_next: set[str] = set()
        self.keep: set[str] = set()
        self.ended: list[str] = []
        """Ids in the order in which they were ended."""
        self._machines = machines
        self._owner = owner
        self._put: dict[str, tuple[Remain, OwnerId]] = {}

    def put(self, remain: Remain, owner: OwnerId | None = None) -> None:
        """There is this too, or it has changed to this; of our owner unless another one is named."""
        self._put[remain.id] = (remain, owner or self._owner)

    async def look(self, region: str, owner: OwnerId) -> Sequence[Remain]:
        """As the port has it."""
        await self._called("look")
        put = [remain for remain, whose in self._put.values() if whose == owner]
        machines = await self._machines.owned(region) if owner == self._owner else ()
        every = [*map(self._of, machines), *put]
        return [self._kept(remain) for remain in every if remain.region == region]

    async def again(self, remain: Remain) -> Remain | None:
        """As the port has it."""
        await self._called("again")
        if remain.id in self._put:
            return self._kept(self._put[remain.id][0])
        machine = self._ours(remain)
        return self._kept(self._of(machine)) if machine else None

    async def end(self, remain: Remain) -> None:
        """As the port has it."""
        await self._called("end")
        if remain.id in self._put:
            if not self._put[remain.id][0].free:
                raise RuntimeUnavailable(f"could not delete {remain.id}: it is in use")
            del self._put[remain.id]
            self.ended.append(remain.id)
        elif self._ours(remain):
            self._machines.end(remain.id, "ended by a sweep", Cause.ASKED)
            self.ended.append(remain.id)
        if "end" in self.lose_next:
            self.lose_next.remove("end")
            raise RuntimeUnavailable("the answer to end was lost")

    def _ours(self, remain: Remain) -> Machine | None:
        return next((one for one in self._machines.alive() if one.id == remain.id), None)

    def _of(self, machine: Machine) -> Remain:
        return Remain(
            kind=RemainKind.MACHINE,
            id=machine.id,
            region=machine.region,
            sandbox_id=machine.sandbox_id,
            state=str(machine.state),
            free=machine.state not in _FREE,
            keep=False,
            born_at=machine.launched_at,
        )

    def _kept(self, remain: Remain) -> Remain:
        return replace(remain, keep=remain.keep or remain.id in self.keep)

    async def _called(self, method: str) -> None:
        await asyncio.sleep(0)
        if fault := self.fail_next.pop(method, None):
            raise fault
