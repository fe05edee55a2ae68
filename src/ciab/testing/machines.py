"""Machines and images in memory. They pass the contract suites of the real ones.

The cloud's habits that correctness depends on are here: a token gives one machine however often it is sent,
lookups lag behind, a launch may do its work and lose the answer. Time is counted in lookups, so that nothing
in a test waits.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ciab.core.errors import CapacityUnavailable, CiabError, RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import SandboxId
from ciab.core.machine import (
    LaunchAttempt,
    LaunchOrder,
    Machine,
    MachineImage,
    MachineState,
    Outcome,
    Place,
)
from ciab.core.ports import Attempts
from ciab.core.secret import Secret
from ciab.core.spec import Spec

_FREE = frozenset({MachineState.ENDING, MachineState.ENDED})
_REPEATABLE = timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(UTC)


class FakeMachines:
    """Machines. `lag` lookups do not see a new machine; `pending` further ones see it before it runs.

    `fail_next` raises its fault once, at the next call of the method it names, before anything is done;
    `lose_next` names methods whose next call does its work and then raises RuntimeUnavailable.
    """

    def __init__(
        self,
        *,
        lag: int = 0,
        pending: int = 1,
        fail_next: Mapping[str, CiabError] | None = None,
        lose_next: Collection[str] = (),
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.fail_next: dict[str, CiabError] = dict(fail_next or {})
        self.lose_next: set[str] = set(lose_next)
        self._lag = lag
        self._pending = pending
        self._now = now
        self._machines: dict[str, Machine] = {}
        self._hidden: dict[str, int] = {}
        self._booting: dict[str, int] = {}
        self._tokens: dict[str, tuple[str, str]] = {}
        self._numbers = itertools.count(1)

    def alive(self) -> list[Machine]:
        """Machines that cost money, visible or not."""
        return [machine for machine in self._machines.values() if machine.state not in _FREE]

    def launched(self, sandbox_id: SandboxId) -> int:
        """How many machines this sandbox ever had."""
        return sum(machine.sandbox_id == sandbox_id for machine in self._machines.values())

    def end(self, machine_id: str, reason: str) -> None:
        """The machine ends by itself, or by somebody else."""
        self._set(machine_id, MachineState.ENDED, reason)

    async def launch(self, order: LaunchOrder, attempts: Attempts) -> Machine:
        """As the port has it."""
        await asyncio.sleep(0)
        past = await attempts.past(order.sandbox_id)
        for attempt in past:
            if attempt.outcome is not Outcome.REFUSED and self._repeatable(attempt):
                return await self._send(attempt, attempts)
        if any(attempt.outcome is not Outcome.REFUSED for attempt in past) and (
            found := await self.find(order.sandbox_id, order.site.place)
        ):
            return found
        number = max((attempt.number for attempt in past), default=0) + 1
        attempt = LaunchAttempt(
            sandbox_id=order.sandbox_id,
            number=number,
            place=order.site.place,
            token=f"{order.sandbox_id}-{number}",
            request=Secret(json.dumps([order.name, order.image.id, order.keys.host.public])),
            begun_at=self._now(),
        )
        await attempts.begin(attempt)
        return await self._send(attempt, attempts)

    async def find(self, sandbox_id: SandboxId, place: Place) -> Machine | None:
        """As the port has it."""
        await self._called("find")
        return max(
            (machine for machine in self._look(place.region) if machine.sandbox_id == sandbox_id),
            key=lambda machine: (machine.state not in _FREE, machine.launched_at),
            default=None,
        )

    async def start(self, machine: Machine) -> None:
        """As the port has it."""
        await self._called("start")
        state = self._state(machine)
        if state is MachineState.STOPPED:
            self._boot(machine.id)

    async def stop(self, machine: Machine) -> None:
        """As the port has it."""
        await self._called("stop")
        self._state(machine)
        self._set(machine.id, MachineState.STOPPED, "stopped by CIAB")
        self._machines[machine.id] = replace(self._machines[machine.id], public_ip=None)

    async def terminate(self, sandbox_id: SandboxId, place: Place, attempts: Attempts) -> None:
        """As the port has it."""
        await self._called("terminate")
        for attempt in await attempts.past(sandbox_id):
            if attempt.outcome is Outcome.OPEN and self._repeatable(attempt):
                await self._send(attempt, attempts)
        for machine in list(self._machines.values()):
            known = machine.sandbox_id == sandbox_id and machine.region == place.region
            if known and machine.state not in _FREE:
                self._set(machine.id, MachineState.ENDED, "terminated by CIAB")
        self._lose("terminate")

    async def owned(self, region: str) -> Sequence[Machine]:
        """As the port has it."""
        await self._called("owned")
        return [machine for machine in self._look(region) if machine.state not in _FREE]

    async def console(self, machine: Machine) -> str:
        """As the port has it."""
        await self._called("console")
        return f"{machine.id} login:"

    async def _called(self, method: str) -> None:
        await asyncio.sleep(0)
        if fault := self.fail_next.pop(method, None):
            raise fault

    def _lose(self, method: str) -> None:
        if method in self.lose_next:
            self.lose_next.remove(method)
            raise RuntimeUnavailable(f"the answer to {method} was lost")

    def _repeatable(self, attempt: LaunchAttempt) -> bool:
        return bool(attempt.request.reveal()) and self._now() - attempt.begun_at < _REPEATABLE

    async def _send(self, attempt: LaunchAttempt, attempts: Attempts) -> Machine:
        try:
            await self._called("launch")
        except (CapacityUnavailable, RuntimeRejected):
            if attempt.outcome is Outcome.OPEN and attempt.token not in self._tokens:
                await attempts.settle(attempt, Outcome.REFUSED)
            raise
        machine_id, request = self._tokens.setdefault(
            attempt.token, (f"i-{next(self._numbers):017x}", attempt.request.reveal())
        )
        if request != attempt.request.reveal():
            raise RuntimeRejected(f"the launch {attempt.token} was repeated with another request")
        if machine_id not in self._machines:
            self._make(machine_id, attempt)
        self._lose("launch")
        await attempts.settle(attempt, Outcome.LAUNCHED, machine_id)
        return self._machines[machine_id]

    def _make(self, machine_id: str, attempt: LaunchAttempt) -> None:
        number = int(machine_id.removeprefix("i-"), 16)
        self._machines[machine_id] = Machine(
            id=machine_id,
            sandbox_id=attempt.sandbox_id,
            state=MachineState.PENDING,
            type="t3.medium",
            region=attempt.place.region,
            zone=f"{attempt.place.region}a",
            image="ami-00000000000000001",
            public_ip=None,
            private_ip=f"10.0.{number // 250}.{number % 250 + 1}",
            launched_at=self._now(),
        )
        self._hidden[machine_id] = self._lag
        self._boot(machine_id)

    def _boot(self, machine_id: str) -> None:
        self._set(machine_id, MachineState.PENDING, None)
        self._booting[machine_id] = self._pending

    def _look(self, region: str) -> list[Machine]:
        # every lookup is a tick of the cloud's clock
        seen = [
            machine
            for machine in self._machines.values()
            if machine.region == region and self._hidden[machine.id] == 0
        ]
        for machine_id, machine in self._machines.items():
            if self._hidden[machine_id]:
                self._hidden[machine_id] -= 1
            elif machine.state is MachineState.PENDING:
                self._booting[machine_id] -= 1
                if self._booting[machine_id] <= 0:
                    address = f"198.51.100.{next(self._numbers) % 250 + 1}"
                    self._machines[machine_id] = replace(
                        machine, state=MachineState.RUNNING, public_ip=address
                    )
        return seen

    def _state(self, machine: Machine) -> MachineState:
        state = self._machines[machine.id].state
        if state in _FREE:
            raise RuntimeRejected(f"machine {machine.id} has ended")
        return state

    def _set(self, machine_id: str, state: MachineState, reason: str | None) -> None:
        self._machines[machine_id] = replace(self._machines[machine_id], state=state, reason=reason)


class FakeImages:
    """Images: the one that was named, else a stock one. `missing` do not exist."""

    def __init__(
        self, *, missing: Collection[str] = (), fail_next: Mapping[str, CiabError] | None = None
    ) -> None:
        self.missing = set(missing)
        self.fail_next: dict[str, CiabError] = dict(fail_next or {})

    async def choose(self, spec: Spec, place: Place) -> MachineImage:
        """As the port has it."""
        await asyncio.sleep(0)
        if fault := self.fail_next.pop("choose", None):
            raise fault
        image = spec.image or spec.ec2.ami or "ami-00000000000000001"
        if image in self.missing:
            raise RuntimeRejected(f"image {image} does not exist in {place.region}")
        return MachineImage(image, "/dev/sda1", "x86_64", "a stock image")
