"""What all machines of this installation are doing: one describe per region, shared by all who ask.

EC2's rate limits are per account, and fifty sandboxes that wait for their machines ask at the same time.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import translated
from ciab.adapters.ec2.instances import machines_in
from ciab.adapters.ec2.pages import pages
from ciab.core import tags
from ciab.core.errors import RuntimeFault, RuntimeUnavailable
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import Machine

INTERVAL = 0.3
"""Seconds from the start of one describe to the next, while somebody asks."""

View = Mapping[SandboxId, Sequence[Machine]]
"""All visible machines of a region by sandbox, ended ones included."""


class Observer:
    """An async context manager that owns one task per region that is being asked about."""

    def __init__(self, clients: Clients, owner: OwnerId, interval: float = INTERVAL) -> None:
        self._clients = clients
        self._owner = owner
        self._interval = interval
        self._waiting: dict[str, list[asyncio.Future[View]]] = defaultdict(list)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, float] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for waiting in self._waiting.values():
            _fail(waiting, RuntimeUnavailable("the server is ending"))

    async def view(self, region: str) -> View:
        """The region as a describe shows it that began after this call.

        An older one would not do: it may have been asked before the change that the caller waits for.
        """
        if self._closed:
            raise RuntimeUnavailable("the server is ending")
        answer: asyncio.Future[View] = asyncio.get_running_loop().create_future()
        self._waiting[region].append(answer)
        if region not in self._tasks:
            self._tasks[region] = asyncio.create_task(self._observe(region), name=f"observe {region}")
        return await answer

    async def _observe(self, region: str) -> None:
        try:
            while any(not answer.done() for answer in self._waiting[region]):
                await asyncio.sleep(self._last.get(region, 0.0) + self._interval - time.monotonic())
                self._last[region] = time.monotonic()
                waiting, self._waiting[region] = self._waiting[region], []
                try:
                    await self._answer(region, waiting)
                finally:
                    _fail(waiting, RuntimeUnavailable(f"the look at {region} was cut off"))
        finally:
            del self._tasks[region]
            _fail(self._waiting.pop(region, ()), RuntimeUnavailable(f"the look at {region} was cut off"))

    async def _answer(self, region: str, waiting: Sequence["asyncio.Future[View]"]) -> None:
        try:
            seen = await self._describe(region)
        except RuntimeFault as fault:
            _fail(waiting, fault)
            return
        for answer in waiting:
            if not answer.done():
                answer.set_result(seen)

    async def _describe(self, region: str) -> View:
        seen: dict[SandboxId, list[Machine]] = defaultdict(list)
        ours = {f"tag:{tags.OWNER}": [str(self._owner)]}
        with translated(f"look at the machines in {region}"):
            async for answer in pages(self._clients, region, "DescribeInstances", ours):
                for machine in machines_in(answer, region):
                    seen[machine.sandbox_id].append(machine)
        return dict(seen)


def _fail(waiting: Sequence["asyncio.Future[View]"], fault: RuntimeFault) -> None:
    for answer in waiting:
        if not answer.done():
            # one exception object must not be raised in several tasks: each would add to its traceback
            answer.set_exception(_copy(fault))
            answer.exception()  # seen: nobody may be listening any more


def _copy(fault: RuntimeFault) -> RuntimeFault:
    copy = type(fault)(fault.message, hint=fault.hint)
    copy.__cause__ = fault.__cause__
    return copy
