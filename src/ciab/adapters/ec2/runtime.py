"""The port `Machines` on EC2: one instance per sandbox, found by its tags, ended for sure."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from botocore.exceptions import ClientError

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import NOT_FOUND, code_of, translated
from ciab.adapters.ec2.instances import FREE, VISIBLE
from ciab.adapters.ec2.launching import Launcher
from ciab.adapters.ec2.observer import Observer
from ciab.adapters.ec2.releasing import is_taken_over, release
from ciab.core.errors import RuntimeFault, RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import LaunchAttempt, LaunchOrder, Machine, MachineState, Outcome, Place
from ciab.core.ports import Attempts

log = logging.getLogger(__name__)

_WRONG_STATE = frozenset({"IncorrectInstanceState"})


class Ec2Machines:
    """See `Machines`. `home` is where this server's credentials and endpoint lead; any region will do."""

    def __init__(
        self,
        clients: Clients,
        observer: Observer,
        launcher: Launcher,
        *,
        owner: OwnerId,
        home: Place,
        now: Callable[[], datetime],
    ) -> None:
        self._clients = clients
        self._observer = observer
        self._launcher = launcher
        self._owner = owner
        self._home = home
        self._now = now

    async def launch(self, order: LaunchOrder, attempts: Attempts) -> Machine:
        """See `Machines.launch`. A LAUNCHED attempt is repeated too: EC2 answers with the same instance."""
        self._check(order.site.place)
        past = await attempts.past(order.sandbox_id)
        forgotten = False
        for attempt in past:
            if self._launcher.repeatable(attempt):
                if machine := await self._launcher.repeat(attempt, attempts):
                    return machine
            elif attempt.outcome is not Outcome.REFUSED:
                forgotten = True
        found = await self.find(order.sandbox_id, order.site.place) if forgotten else None
        if found and found.state not in FREE:
            return found
        number = max((attempt.number for attempt in past), default=0) + 1
        return await self._launcher.launch(order, attempts, number)

    async def find(self, sandbox_id: SandboxId, place: Place) -> Machine | None:
        """See `Machines.find`: by tag, in a describe that began after this call and that others share."""
        self._check(place)
        seen = (await self._observer.view(place.region)).get(sandbox_id, ())
        return max(seen, key=lambda machine: (machine.state not in FREE, machine.launched_at), default=None)

    async def start(self, machine: Machine) -> None:
        """See `Machines.start`. Raises RuntimeUnavailable while it is still stopping, CapacityUnavailable
        when there is no room for it now, RuntimeRejected when it has ended."""
        await self._move(machine, "StartInstances", "start")

    async def stop(self, machine: Machine, *, hibernate: bool = False) -> None:
        """See `Machines.stop`. Raises RuntimeRejected when it has ended or is a spot instance, and
        RuntimeUnavailable while it boots: its agent for hibernation takes up to two minutes to be ready.

        One that was not launched for hibernation is just stopped.
        """
        if hibernate and machine.hibernates:
            await self._move(machine, "StopInstances", "hibernate", Hibernate=True)
        else:
            await self._move(machine, "StopInstances", "stop")

    async def release(self, machine: Machine) -> None:
        """See `Machines.release`; from then on a shutdown inside stops it too, and never ends it."""
        await release(self._clients, machine, self._owner, self._now())

    async def terminate(self, sandbox_id: SandboxId, place: Place, attempts: Attempts) -> None:
        """See `Machines.terminate`. What is known is ended first; then what is not clear is made clear."""
        self._check(place)
        seen = (await self._observer.view(place.region)).get(sandbox_id, ())
        ended: set[str] = set()
        trouble: RuntimeFault | None = None
        for attempt in await attempts.past(sandbox_id):
            try:
                if attempt.outcome is Outcome.LAUNCHED and attempt.machine_id:
                    await self._end_known(attempt, attempt.machine_id, seen)
                    ended.add(attempt.machine_id)
                    continue
                open_one = attempt.outcome is Outcome.OPEN and self._launcher.repeatable(attempt)
                if open_one and (machine := await self._launcher.repeat(attempt, attempts)):
                    await self._end(place.region, machine.id, machine.launched_at)
                    ended.add(machine.id)
            except RuntimeFault as fault:
                # the other attempts' machines cost money too
                trouble = fault
        for machine in seen:
            if machine.id not in ended and machine.state not in FREE:
                await self._end(place.region, machine.id, machine.launched_at)
        if trouble:
            raise trouble

    async def owned(self, region: str) -> Sequence[Machine]:
        """See `Machines.owned`."""
        seen = await self._observer.view(region)
        return [machine for found in seen.values() for machine in found if machine.state not in FREE]

    async def console(self, machine: Machine) -> str:
        """See `Machines.console`. The newest output where the type gives it, else that of the boot."""
        with translated(f"read the console of {machine.id}"):
            try:
                answer = await self._clients.ec2(
                    machine.region, "GetConsoleOutput", InstanceId=machine.id, Latest=True
                )
            except ClientError as error:
                # only types on Nitro have the newest one
                if code_of(error) != "UnsupportedOperation":
                    raise
                answer = await self._clients.ec2(machine.region, "GetConsoleOutput", InstanceId=machine.id)
        return str(answer.get("Output") or "")

    def _check(self, place: Place) -> None:
        # Absence counts only when asked in the place of the launch.
        theirs = (place.backend, place.account, place.endpoint)
        ours = (self._home.backend, self._home.account, self._home.endpoint)
        if theirs != ours:
            raise RuntimeRejected(
                f"the machine is in backend {place.backend}, account {place.account}, endpoint "
                f"{place.endpoint or 'AWS'}; this server works in backend {self._home.backend}, account "
                f"{self._home.account}, endpoint {self._home.endpoint or 'AWS'}",
                hint="start the server with the configuration and credentials it was launched with",
            )

    async def _end_known(self, attempt: LaunchAttempt, machine_id: str, seen: Sequence[Machine]) -> None:
        """End what an attempt launched, unless it is somebody else's now: it was released, which a database
        that was restored from a backup does not know, or somebody took its tag away."""
        region = attempt.place.region
        if machine_id in {machine.id for machine in seen} or not await is_taken_over(
            self._clients, region, machine_id
        ):
            await self._end(region, machine_id, attempt.settled_at or attempt.begun_at)

    async def _end(self, region: str, machine_id: str, launched_at: datetime) -> None:
        with translated(f"terminate {machine_id} in {region}"):
            try:
                answer = await self._clients.ec2(region, "TerminateInstances", InstanceIds=[machine_id])
            except ClientError as error:
                if code_of(error) not in NOT_FOUND:
                    raise
                if self._now() - launched_at < VISIBLE:
                    raise RuntimeUnavailable(
                        f"could not terminate {machine_id}: {region} does not show it yet",
                        hint="it is tried again; a new instance can take minutes to become visible",
                    ) from error
                return
        states = {one["CurrentState"]["Name"] for one in answer["TerminatingInstances"]}
        if not states or states - {"shutting-down", "terminated"}:
            raise RuntimeUnavailable(
                f"{machine_id} is not ending yet: {', '.join(sorted(states)) or 'no state'}"
            )
        log.info("machine terminated", extra={"action": "machine_terminated", "machine": machine_id})

    async def _move(self, machine: Machine, action: str, verb: str, **more: bool) -> None:
        with translated(f"{verb} {machine.id} in {machine.region}"):
            try:
                await self._clients.ec2(machine.region, action, InstanceIds=[machine.id], **more)
            except ClientError as error:
                code = code_of(error)
                if code in NOT_FOUND and self._now() - machine.launched_at < VISIBLE:
                    raise RuntimeUnavailable(
                        f"could not {verb} {machine.id}: {machine.region} does not show it yet"
                    ) from error
                if code == "UnsupportedOperation" and "not ready" in str(error):
                    raise RuntimeUnavailable(
                        f"could not {verb} {machine.id}: it is not ready for that yet",
                        hint="a machine can hibernate some two minutes after it was launched",
                    ) from error
                if code not in _WRONG_STATE:
                    raise
                await self._explain(machine, verb, error)

    async def _explain(self, machine: Machine, verb: str, error: ClientError) -> None:
        # One code for "later" and for "never"; only the state tells them apart.
        seen = (await self._observer.view(machine.region)).get(machine.sandbox_id, ())
        state = next((one.state for one in seen if one.id == machine.id), None)
        if state in FREE or state is None:
            raise RuntimeRejected(f"could not {verb} {machine.id}: it has ended") from error
        if verb == "start" and state in {MachineState.PENDING, MachineState.RUNNING}:
            return
        raise RuntimeUnavailable(f"could not {verb} {machine.id}: it is {state}") from error
