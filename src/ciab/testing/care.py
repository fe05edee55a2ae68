"""What the control plane does inside a machine for its own sake, in memory."""

import asyncio
from collections.abc import Mapping

from ciab.core.errors import CiabError
from ciab.core.guest import Pulse


class FakeCare:
    """The port Care of one machine, which outlives its connections. Tests set what the next pulses find.

    `fail_next` raises its fault once, at the next call of the method it names.
    """

    def __init__(self, *, fail_next: Mapping[str, CiabError] | None = None) -> None:
        self.fail_next: dict[str, CiabError] = dict(fail_next or {})
        self.cpu_seconds = 0.0
        """What the user's processes use between two pulses."""
        self.over_seconds = 10.0
        """Between two pulses."""
        self.interruption: str | None = None
        """What the provider announces; told only to who asks for it."""
        self.boot = "boot-1"
        self.frozen = False
        self.disarmed = False
        self.beats = 0
        self.running: set[asyncio.Event] = set()
        """One for each command under way; it goes on while its event is set."""
        self._felt: str | None = None
        """The boot of the last pulse."""

    async def pulse(self, *, spot: bool = False) -> Pulse:
        """As the port has it."""
        await self._answer("pulse")
        self.beats += 1
        self.disarmed = False
        first, self._felt = self._felt != self.boot, self.boot
        return Pulse(
            self.boot,
            0.0 if first else self.cpu_seconds,
            0.0 if first else self.over_seconds,
            self.interruption if spot else None,
        )

    async def disarm(self) -> None:
        """As the port has it."""
        await self._answer("disarm")
        self.disarmed = True

    async def freeze(self) -> None:
        """As the port has it."""
        await self._answer("freeze")
        self.frozen = True
        for command in self.running:
            command.clear()

    async def thaw(self) -> None:
        """As the port has it."""
        await self._answer("thaw")
        self.frozen = False
        for command in self.running:
            command.set()

    def reboot(self) -> None:
        """Another boot: nothing is frozen any more, and what was disarmed stays so."""
        self.boot = f"boot-{int(self.boot.rpartition('-')[2]) + 1}"
        self.frozen = False

    async def _answer(self, method: str) -> None:
        await asyncio.sleep(0)
        if fault := self.fail_next.pop(method, None):
            raise fault
