"""Connections that somebody can cut, and machines that take the call and never answer."""

import asyncio

from ciab.core.errors import GuestUnreachable
from ciab.core.guest import Target
from ciab.core.ids import SandboxId
from ciab.testing.guest import FakeConnection, FakeConnections, Program


class Lines(FakeConnections):
    """`cut` is everybody's line; `out` are those whom nobody reaches, `hanging` those who never answer."""

    def __init__(self, **programs: Program) -> None:
        super().__init__(programs=programs)
        self.cut = False
        self.out: set[SandboxId] = set()
        self.hanging: set[SandboxId] = set()

    async def connect(self, target: Target) -> FakeConnection:
        if self.cut or target.sandbox_id in self.out:
            raise GuestUnreachable("the machine does not answer")
        if target.sandbox_id in self.hanging:
            await asyncio.Event().wait()
        return await super().connect(target)
