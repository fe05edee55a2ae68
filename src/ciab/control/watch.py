"""Looks after sandboxes at rest: are their machines as they should be, and is their time or money up?"""

import asyncio
import logging
from collections.abc import Callable, Collection

from ciab.control.activity import Activity
from ciab.control.costs import SPENDING, Costs, Strain
from ciab.control.guarded import guarded
from ciab.control.listing import every
from ciab.control.pulses import Pulses
from ciab.control.reconcile import Reconciler
from ciab.control.sandboxes import Sandboxes, ended
from ciab.control.work import Ports
from ciab.core.errors import InvalidState
from ciab.core.ids import SandboxId
from ciab.core.journal import Noted
from ciab.core.sandbox import Held, Sandbox
from ciab.core.states import LIVE, State

log = logging.getLogger(__name__)

WITH_MACHINE = LIVE - {State.PENDING, State.CREATING, State.TERMINATING}
"""States in which a machine is there, unless somebody else has ended it."""


class Watch:
    """One round after another, the first at once: a restart begins with the question what has happened."""

    def __init__(
        self,
        ports: Ports,
        sandboxes: Sandboxes,
        costs: Costs,
        *,
        activity: Activity,
        reconciler: Reconciler,
        pulses: Pulses,
    ) -> None:
        self._ports = ports
        self._sandboxes = sandboxes
        self._costs = costs
        self._activity = activity
        self._reconciler = reconciler
        self._pulses = pulses
        self._warned: set[tuple[str, str, SandboxId]] = set()
        """Words said, budgets they were about, and to whom."""
        self._versions: dict[SandboxId, int] = {}
        """Of what ran at the last round."""

    async def run(self) -> None:
        """Watch until cancelled. A round that fails is tried again at the next one's time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pulses.run(), name="pulses")
            while True:
                await guarded("watch", self.round())
                await self._ports.sleep(self._ports.policy.watch_interval)

    async def round(self) -> None:
        """Look at everything once."""
        await self._ports.anchors.keep(
            {"steady": self._ports.steady.anchor(), "billing": self._ports.billing.anchor()}
        )
        live = await every(self._ports.store, LIVE)
        self._pulses.watch(live)
        async with asyncio.TaskGroup() as group:  # together: they share one describe of each region
            for sandbox in live:
                if sandbox.state in WITH_MACHINE:
                    group.create_task(guarded("compare", self._reconciler.compare(sandbox)))
        self._forget_all_but({sandbox.id for sandbox in live})
        for sandbox in live:
            await guarded("lifetime", self._end_what_is_old(sandbox))
            await guarded("idle", self._rest_what_is_idle(sandbox))
        strains = await self._costs.strains()
        # a day's budget is new at midnight, and so is its warning
        strained = {(strain.budget, one.id) for strain in strains for one in strain.concerns}
        self._warned = {said for said in self._warned if said[1:] in strained}
        for strain in strains:
            await self._heed(strain)

    def _forget_all_but(self, live: Collection[SandboxId]) -> None:
        for gone in self._versions.keys() - live:
            del self._versions[gone]
            self._activity.forget(gone)

    async def _end_what_is_old(self, sandbox: Sandbox) -> None:
        if sandbox.expires_at is None or sandbox.state is State.TERMINATING:
            return
        if self._ports.steady.now() < sandbox.expires_at:
            return
        lived = sandbox.spec.timeout_secs or self._ports.policy.max_lifetime
        await self._sandboxes.intend(
            sandbox.id, lambda one: ended(one, f"its lifetime of {lived:g} s is over")
        )

    async def _rest_what_is_idle(self, sandbox: Sandbox) -> None:
        if sandbox.state is not State.RUNNING:
            self._activity.forget(sandbox.id)
            return
        if self._versions.get(sandbox.id) != sandbox.version:
            # who paused and resumed it between two rounds wants to use it
            self._versions[sandbox.id] = sandbox.version
            self._activity.touch(sandbox.id)
        after = self._ports.policy.idle_after(sandbox.spec)
        idle = self._activity.idle_for(sandbox.id)
        if not after or idle < after:
            return
        if not self._pulses.felt_within(sandbox.id, 2 * self._pulses.interval(sandbox) + 1.0):
            return
        reason = f"it was idle for {idle:.0f} s"
        action = "terminate" if _spot(sandbox) else self._ports.policy.idle_action
        await self._put_to_rest(
            sandbox, action, reason, still=lambda: self._activity.idle_for(sandbox.id) >= after
        )

    async def _heed(self, strain: Strain) -> None:
        """Tell each one once while the strain lasts; stop what still runs on a budget that is used up."""
        word = "budget_exceeded" if strain.exceeded else "budget_warning"
        for sandbox in strain.concerns:
            if (word, strain.budget, sandbox.id) not in self._warned:
                self._warned.add((word, strain.budget, sandbox.id))
                await self._ports.store.note(sandbox.id, Noted(word, str(strain), shown=True))
        if not strain.exceeded:
            return
        for sandbox in strain.concerns:
            if sandbox.state in SPENDING:
                action = "terminate" if _spot(sandbox) else "pause"
                await self._put_to_rest(sandbox, action, str(strain))

    async def _put_to_rest(
        self, sandbox: Sandbox, action: str, reason: str, still: Callable[[], bool] = lambda: True
    ) -> None:
        def change(one: Sandbox) -> Sandbox:
            if one.version != sandbox.version or not still():
                return one  # it was moved or used meanwhile: the next round looks again
            if action == "terminate":
                return ended(one, reason)
            if one.state is State.RUNNING and action == "pause":
                return self._sandboxes.paused(one, reason=reason)
            if one.state is State.RUNNING or one.held is Held.FROZEN:
                return one.to(State.STOPPING, reason=reason)
            return one

        try:
            await self._sandboxes.intend(sandbox.id, change)
        except InvalidState as moved:
            log.info(
                "not put to rest", extra={"action": "rest_late", "sandbox": sandbox.id, "why": moved.message}
            )


def _spot(sandbox: Sandbox) -> bool:
    return sandbox.machine is not None and sandbox.machine.spot
