"""One machine for a sandbox, whatever happens on the way: attempts, tokens, replays and fallbacks.

EC2 gives the same instance for the same ClientToken and the same parameters, in the zone of the request.
So each request is recorded before it is sent; one whose outcome is unclear is repeated as it was until the
outcome is clear; and only a clear no lets another type or subnet be tried, under the next token.
"""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import FOREIGN, Meaning, code_of, fault, meaning, translated
from ciab.adapters.ec2.instances import machine_of
from ciab.adapters.ec2.request import Candidate, candidates, run_instances
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.errors import CapacityUnavailable
from ciab.core.ids import OwnerId
from ciab.core.machine import LaunchAttempt, LaunchOrder, Machine, Outcome
from ciab.core.ports import Attempts
from ciab.core.secret import Secret

log = logging.getLogger(__name__)

_REPEATABLE = timedelta(hours=1)
"""EC2 may have forgotten a token that is older, and would launch a second instance."""

_FULL = timedelta(minutes=3)
"""How long a type and subnet without capacity is not asked again."""

_NO_LAUNCH = frozenset({Meaning.CAPACITY, Meaning.QUOTA, Meaning.REFUSED})
"""What makes an open attempt a refused one when it comes as the answer to its repetition. DENIED and
THROTTLED do not: they come before EC2 looks at the token, and the first request may have launched."""


class Launcher:
    """Sends RunInstances and settles attempts."""

    def __init__(
        self, clients: Clients, settings: Ec2Settings, owner: OwnerId, now: Callable[[], datetime]
    ) -> None:
        self._clients = clients
        self._settings = settings
        self._owner = owner
        self._now = now
        self._full: dict[tuple[str, Candidate], datetime] = {}

    def repeatable(self, attempt: LaunchAttempt) -> bool:
        """Whether this attempt's request may be sent again."""
        young = self._now() - attempt.begun_at < _REPEATABLE
        return attempt.outcome is not Outcome.REFUSED and young and bool(attempt.request.reveal())

    async def repeat(self, attempt: LaunchAttempt, attempts: Attempts) -> Machine | None:
        """Send an attempt's request again: the machine that it launched or launches now.

        None: EC2's clear word that there is none, and the attempt is settled as REFUSED. Raises
        RuntimeUnavailable while the outcome stays unclear, RuntimeRejected when EC2 does not let us ask.
        """
        await self._turn(attempt.place.region)
        try:
            machine = await self._send(attempt)
        except FOREIGN as error:
            mismatch = code_of(error) == "IdempotentParameterMismatch"
            if attempt.outcome is Outcome.OPEN and meaning(error) in _NO_LAUNCH and not mismatch:
                await attempts.settle(attempt, Outcome.REFUSED)
                return None
            region = attempt.place.region
            raise fault(f"repeat the launch {attempt.token} in {region}", error) from error
        if attempt.outcome is Outcome.OPEN:
            await attempts.settle(attempt, Outcome.LAUNCHED, machine.id)
        return machine

    async def launch(self, order: LaunchOrder, attempts: Attempts, number: int) -> Machine:
        """Try every candidate, the first attempt being `number`.

        A request that was throttled or denied at its first sending has launched nothing and is REFUSED; one
        without a clear answer stays OPEN. Raises CapacityUnavailable naming all that was tried.
        """
        place, tried = order.site.place, list[str]()
        for candidate in candidates(order.spec, self._settings, place.region):
            if self._full.get((place.region, candidate), self._now()) > self._now():
                tried.append(f"{candidate} (no capacity a moment ago)")
                continue
            token = f"{order.sandbox_id}-{number}"
            request = run_instances(order, self._settings, self._owner, candidate, token)
            # waited for before the attempt is begun: one that was never sent must not look like one that was
            await self._turn(place.region)
            attempt = LaunchAttempt(
                order.sandbox_id, number, place, token, Secret(json.dumps(request)), self._now()
            )
            await attempts.begin(attempt)
            try:
                machine = await self._send(attempt)
            except FOREIGN as error:
                kind = meaning(error)
                if kind is not Meaning.UNSURE:
                    await attempts.settle(attempt, Outcome.REFUSED)
                if kind is not Meaning.CAPACITY:
                    raise fault(f"launch a machine in {place.region}", error) from error
                self._remember(place.region, candidate, order, error)
                tried.append(f"{candidate} ({code_of(error)})")
                number += 1
                continue
            await attempts.settle(attempt, Outcome.LAUNCHED, machine.id)
            return machine
        raise CapacityUnavailable(
            f"could not launch a machine in {place.region}: no capacity for {', '.join(tried)}",
            hint="name more instance_types or subnet_ids to choose from, or try again in a few minutes",
        )

    async def _turn(self, region: str) -> None:
        with translated(f"launch a machine in {region}"):
            await self._clients.turn(region, "RunInstances")

    async def _send(self, attempt: LaunchAttempt) -> Machine:
        request = json.loads(attempt.request.reveal())
        answer = await self._clients.call(attempt.place.region, "RunInstances", request)
        machine = machine_of(answer["Instances"][0], attempt.sandbox_id, attempt.place.region)
        log.info(
            "machine launched",
            extra={"action": "machine_launched", "sandbox": attempt.sandbox_id, "machine": machine.id},
        )
        return machine

    def _remember(self, region: str, candidate: Candidate, order: LaunchOrder, error: BaseException) -> None:
        self._full[region, candidate] = self._now() + _FULL
        log.warning(
            "no capacity, trying the next type or subnet",
            extra={
                "action": "capacity_missing",
                "sandbox": order.sandbox_id,
                "candidate": str(candidate),
                "code": code_of(error),
            },
        )
