"""Machines in memory. They pass the contract suite of the real ones.

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
    Cause,
    LaunchAttempt,
    LaunchOrder,
    Machine,
    MachineState,
    Outcome,
    Place,
)
from ciab.core.ports import Attempts
from ciab.core.secret import Secret
from ciab.core.spec import Persistence

_FREE = frozenset({MachineState.ENDING, MachineState.ENDED})
_REPEATABLE = timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(UTC)


class FakeMachines:
    """Machines. `lag` lookups do not see a new machine; `pending` further ones see it before it runs, and
    `stopping` ones see it before it has stopped.

    `spot` is what ephemeral ones are whose spec does not say; `hibernates`, what all others can.
    `fail_next` raises its fault once, at the next call of the method it names, before anything is done;
    `lose_next` names methods whose next call does its work and then raises RuntimeUnavailable.
    """

    def __init__(
        self,
        *,
        lag: int = 0,
        pending: int = 1,
        stopping: int = 0,
        spot: bool = False,
        hibernates: bool = False,
        fail_next: Mapping[str, CiabError] | None = None,
        lose_next: Collection[str] = (),
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.fail_next: dict[str, CiabError] = dict(fail_next or {})
        self.lose_next: set[str] = set(lose_next)
        self._lag = lag
        self._lookups = {MachineState.PENDING: pending, MachineState.STOPPING: stopping}
        self._spot = spot
        self._hibernates = hibernates
        self._now = now
        self._machines: dict[str, Machine] = {}
        self._hidden: dict[str, int] = {}
        self._moving: dict[str, int] = {}
        self.released: dict[str, datetime] = {}
        """When each machine was left to its user."""
        self._tokens: dict[str, tuple[str, str]] = {}
        self._numbers = itertools.count(1)

    def alive(self) -> list[Machine]:
        """Machines that cost us money, visible or not: released ones are their users'."""
        ours = (machine for machine in self._machines.values() if machine.id not in self.released)
        return [machine for machine in ours if machine.state not in _FREE]

    def launched(self, sandbox_id: SandboxId) -> int:
        """How many machines this sandbox ever had."""
        return sum(machine.sandbox_id == sandbox_id for machine in self._machines.values())

    def now(self, machine_id: str) -> Machine:
        """The machine as it is, whoever's it is and whether or not a lookup shows it."""
        return self._machines[machine_id]

    def end(self, machine_id: str, reason: str, cause: Cause | None = None) -> None:
        """The machine ends by itself, or by somebody else."""
        self._set(machine_id, MachineState.ENDED, reason, cause)

    def stopped_by_hand(self, machine_id: str, cause: Cause = Cause.ASKED) -> None:
        """Somebody else stops it, or it stops by itself."""
        self._rest(machine_id, "stopped by somebody else", cause)

    def started_by_hand(self, machine_id: str) -> None:
        """Somebody else starts it."""
        self._state(self._machines[machine_id])
        self._move(machine_id, MachineState.PENDING)

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
            request=Secret(json.dumps(self._request(order))),
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
        if state is MachineState.STOPPING:
            raise RuntimeUnavailable(f"could not start {machine.id}: it is stopping")
        if state is MachineState.STOPPED:
            self._move(machine.id, MachineState.PENDING)
        self._lose("start")

    async def stop(self, machine: Machine, *, hibernate: bool = False) -> None:
        """As the port has it. A spot machine refuses."""
        await self._called("stop")
        state = self._state(machine)
        if self._machines[machine.id].spot:
            raise RuntimeRejected(f"could not stop {machine.id}: it is a spot machine")
        if state is MachineState.PENDING:
            raise RuntimeUnavailable(f"could not stop {machine.id}: it is pending")
        if state is MachineState.RUNNING:
            kept = hibernate and machine.hibernates
            self._rest(machine.id, "hibernated by CIAB" if kept else "stopped by CIAB", Cause.ASKED)
            if self._lookups[MachineState.STOPPING]:
                self._move(machine.id, MachineState.STOPPING)
        self._lose("stop")

    async def release(self, machine: Machine) -> None:
        """As the port has it."""
        await self._called("release")
        state = self._machines[machine.id].state
        if machine.id not in self.released and state not in _FREE:
            if state is not MachineState.STOPPED:
                raise RuntimeUnavailable(f"could not release {machine.id}: it is {state}")
            self.released[machine.id] = self._now()
        self._lose("release")

    async def terminate(self, sandbox_id: SandboxId, place: Place, attempts: Attempts) -> None:
        """As the port has it."""
        await self._called("terminate")
        for attempt in await attempts.past(sandbox_id):
            if attempt.outcome is Outcome.OPEN and self._repeatable(attempt):
                await self._send(attempt, attempts)
        for machine in list(self._machines.values()):
            known = machine.sandbox_id == sandbox_id and machine.region == place.region
            if known and machine.state not in _FREE and machine.id not in self.released:
                self._set(machine.id, MachineState.ENDED, "terminated by CIAB", Cause.ASKED)
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

    def _request(self, order: LaunchOrder) -> list[object]:
        spec = order.spec
        spot = self._spot if spec.ec2.spot is None else spec.ec2.spot
        spot = spot and spec.persistence is Persistence.EPHEMERAL
        named = [order.name, order.image.id, order.keys.host.public, order.authorized_key]
        return [*named, spec.ec2.instance_type or "t3.medium", spot]

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
        *_, kind, spot = json.loads(attempt.request.reveal())
        self._machines[machine_id] = Machine(
            id=machine_id,
            sandbox_id=attempt.sandbox_id,
            state=MachineState.PENDING,
            type=kind,
            region=attempt.place.region,
            zone=f"{attempt.place.region}a",
            image="ami-00000000000000001",
            public_ip=None,
            private_ip=f"10.0.{number // 250}.{number % 250 + 1}",
            launched_at=self._now(),
            spot=spot,
            hibernates=self._hibernates and not spot,
        )
        self._hidden[machine_id] = self._lag
        self._move(machine_id, MachineState.PENDING)

    def _move(self, machine_id: str, state: MachineState) -> None:
        """Into a state that ends by itself, after so many lookups."""
        before = self._machines[machine_id]
        stops = state is MachineState.STOPPING
        reason, cause = (before.reason, before.cause) if stops else (None, None)
        self._set(machine_id, state, reason, cause)
        self._moving[machine_id] = self._lookups[state]

    def _rest(self, machine_id: str, reason: str, cause: Cause) -> None:
        self._set(machine_id, MachineState.STOPPED, reason, cause)
        self._machines[machine_id] = replace(self._machines[machine_id], public_ip=None)

    def _look(self, region: str) -> list[Machine]:
        # every lookup is a tick of the cloud's clock
        seen = [
            machine
            for machine in self._machines.values()
            if machine.region == region and self._hidden[machine.id] == 0 and machine.id not in self.released
        ]
        for machine_id, machine in self._machines.items():
            if self._hidden[machine_id]:
                self._hidden[machine_id] -= 1
            elif machine.state in self._lookups:
                self._moving[machine_id] -= 1
                if self._moving[machine_id] <= 0:
                    self._machines[machine_id] = self._arrived(machine)
        return seen

    def _arrived(self, machine: Machine) -> Machine:
        if machine.state is MachineState.STOPPING:
            return replace(machine, state=MachineState.STOPPED)
        address = f"198.51.100.{next(self._numbers) % 250 + 1}"
        return replace(machine, state=MachineState.RUNNING, public_ip=address)

    def _state(self, machine: Machine) -> MachineState:
        state = self._machines[machine.id].state
        if state in _FREE:
            raise RuntimeRejected(f"machine {machine.id} has ended")
        return state

    def _set(
        self, machine_id: str, state: MachineState, reason: str | None, cause: Cause | None = None
    ) -> None:
        before = self._machines[machine_id]
        self._machines[machine_id] = replace(before, state=state, reason=reason, cause=cause)
