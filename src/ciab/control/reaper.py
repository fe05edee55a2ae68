"""The last net: whatever carries our tags at the provider and no live sandbox has is ended, with a reason."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ciab.control.guarded import guarded
from ciab.control.work import Ports
from ciab.core.errors import CiabError, RuntimeUnavailable, SandboxNotFound
from ciab.core.ids import OwnerId
from ciab.core.journal import Noted
from ciab.core.machine import Place, Remain, RemainKind

log = logging.getLogger(__name__)

SECOND_LOOK = 2.0
"""Seconds between the two looks of a sweep that a user asks for."""

LAST_LOOKS = 3
"""How often the end of the server tries to look: nobody looks after it."""

Action = Literal["ended", "would_end", "spared", "reported", "failed"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sweep did with one thing, or would do, and why."""

    remain: Remain
    action: Action
    reason: str


class Reaper:
    """Sweeps every region that was ever used. What is known of earlier looks dies with the process."""

    def __init__(self, ports: Ports, owner: OwnerId, home: Place, configured: Collection[str] = ()) -> None:
        self._ports = ports
        self._owner = owner
        self._home = home
        self._configured = frozenset(configured)
        """Further regions: a database that was lost does not know which were used."""
        self._noted: set[str] = set()
        """What the journal has as reaped: an end that is refused again and again is one entry."""
        self._seen: dict[str, tuple[OwnerId, float]] = {}
        """When a thing was first seen without a sandbox, in ticks, and in a sweep of whose things; by id."""

    async def run(self) -> None:
        """Sweep until cancelled; unknown things are only reported in the log."""
        while True:
            await guarded("sweep", self.sweep())
            await self._ports.sleep(self._ports.policy.sweep_interval)

    async def sweep(self) -> Sequence[Verdict]:
        """One automatic sweep: it takes what was seen in an earlier one and belonged to a sandbox that the
        database knows as ended."""
        seen = frozenset(self._seen)
        found, blind = await self._look(self._owner)
        for why in blind:
            log.warning("region not swept", extra={"action": "sweep_blind", "why": why})
        verdicts = await self._carry_out(await self._judge(found, self._owner, seen, unknown="reported"))
        for verdict in verdicts:
            _log(verdict)
        return verdicts

    async def collect(self, *, dry_run: bool, owner: OwnerId | None = None) -> Sequence[Verdict]:
        """The sweep that a user asks for: unknown things too, of this installation or of `owner`'s.

        Raises RuntimeUnavailable, with nothing done, when a region cannot be looked at.
        """
        whose = owner or self._owner
        await self._judge(await self._look_well(whose), whose, frozenset(), unknown="would_end")
        if not dry_run:
            await self._ports.sleep(SECOND_LOOK)
        found = await self._look_well(whose)
        verdicts = await self._judge(found, whose, frozenset(self._seen), unknown="would_end")
        return verdicts if dry_run else await self._carry_out(verdicts)

    async def at_end(self) -> tuple[Sequence[Verdict], Sequence[str]]:
        """What an orderly end of the server takes: every machine of an ended sandbox, at once. And why
        regions could not be looked at."""
        found, blind = await self._look(self._owner)
        for _ in range(LAST_LOOKS - 1):
            if not blind:
                break
            await self._ports.sleep(SECOND_LOOK)
            found, blind = await self._look(self._owner)
        machines = [remain for remain in found if remain.kind is RemainKind.MACHINE]
        everything = frozenset(remain.id for remain in machines)
        verdicts = await self._judge(machines, self._owner, everything, unknown="reported", grace=0.0)
        return await self._carry_out(verdicts), blind

    async def _look_well(self, owner: OwnerId) -> list[Remain]:
        found, blind = await self._look(owner, self._configured)
        if blind:
            raise RuntimeUnavailable("; ".join(blind), hint="nothing was done; try again")
        return found

    async def _look(self, owner: OwnerId, further: Collection[str] = ()) -> tuple[list[Remain], list[str]]:
        """Everything of the owner's in every region ever used and in `further` ones, and what kept us from
        looking at some."""
        used = await self._ports.attempts.regions()
        here = [place.region for place in used if replace(place, region=self._home.region) == self._home]
        found: list[Remain] = []
        blind: list[str] = []
        for region in sorted({self._home.region, *here, *further}):
            try:
                found += await self._ports.remains.look(region, owner)
            except CiabError as fault:
                blind.append(fault.message)
        return found, blind

    async def _judge(
        self,
        found: Sequence[Remain],
        owner: OwnerId,
        seen: frozenset[str],
        *,
        unknown: Action,
        grace: float | None = None,
    ) -> list[Verdict]:
        grace = self._ports.policy.grace if grace is None else grace
        verdicts = []
        orphans: set[str] = set()
        for remain in found:
            verdict = await self._verdict(remain, unknown)
            if verdict is None:
                continue
            orphans.add(remain.id)
            self._seen.setdefault(remain.id, (owner, self._ports.ticks()))
            if verdict.action == "would_end" and (age := self._age(remain)) < grace:
                verdict = Verdict(remain, "spared", f"{verdict.reason}, but it is only {age:.0f} s old")
            elif verdict.action == "would_end" and remain.id not in seen:
                verdict = Verdict(remain, "spared", f"{verdict.reason}; seen for the first time")
            verdicts.append(verdict)
        for gone in [one for one, (whose, _) in self._seen.items() if whose == owner and one not in orphans]:
            del self._seen[gone]
        return verdicts

    async def _verdict(self, remain: Remain, unknown: Action) -> Verdict | None:
        """What is to be done with it by what it is; None: a live sandbox has it."""
        if remain.build_id is not None:
            return Verdict(remain, "spared", f"image build {remain.build_id} has it")
        try:
            sandbox = await self._ports.store.get(remain.sandbox_id)
        except SandboxNotFound:
            action, reason = unknown, f"no sandbox of this database has the id {remain.sandbox_id}"
        else:
            if sandbox.live:
                return None
            action, reason = "would_end", f"sandbox {sandbox.name} is {sandbox.state}"
        if remain.keep:
            return Verdict(remain, "spared", f"{reason}, but it carries the tag ciab-keep")
        if not remain.free:
            return Verdict(remain, "spared", f"{reason}, but it is {remain.state}")
        return Verdict(remain, action, reason)

    def _age(self, remain: Remain) -> float:
        seen_for = self._ports.ticks() - self._seen[remain.id][1]
        if remain.born_at is None:
            return seen_for
        now = self._ports.billing.wall_of(self._ports.billing.now())
        return max((now - remain.born_at).total_seconds(), seen_for)

    async def _carry_out(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        done, left = [], self._ports.policy.max_per_sweep
        for verdict in verdicts:
            if verdict.action != "would_end":
                done.append(verdict)
            elif left <= 0:
                done.append(Verdict(verdict.remain, "spared", f"{verdict.reason}; enough for one sweep"))
            else:
                left -= 1
                done.append(await self._end(verdict))
        return done

    async def _end(self, verdict: Verdict) -> Verdict:
        remain = verdict.remain
        try:
            now = await self._ports.remains.again(remain)
            if now is None or now.keep or not now.free:
                return Verdict(remain, "spared", f"{verdict.reason}, but it has changed just now")
            try:
                claimed = (await self._ports.store.get(now.sandbox_id)).live
                known = True
            except SandboxNotFound:
                claimed = known = False
            if claimed:
                return Verdict(remain, "spared", "a live sandbox has it")
            words = f"{remain.kind} {remain.id} in {remain.region}: {verdict.reason}"
            if remain.id not in self._noted:
                # before the call: a kill without its entry would be one that nobody can explain
                await self._ports.store.note(now.sandbox_id if known else None, Noted("reaped", words))
                self._noted.add(remain.id)
            await self._ports.remains.end(now)
        except CiabError as fault:
            return Verdict(remain, "failed", f"{verdict.reason}; {fault.message}")
        self._seen.pop(remain.id, None)
        return Verdict(remain, "ended", verdict.reason)


def _log(verdict: Verdict) -> None:
    if verdict.action == "spared":
        return
    remain = verdict.remain
    log.warning(
        "sweep found a thing without a sandbox",
        extra={
            "action": f"sweep_{verdict.action}",
            "thing": f"{remain.kind} {remain.id}",
            "why": verdict.reason,
        },
    )
