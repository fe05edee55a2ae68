"""What owns machines, and the record of what was asked of it."""

from collections.abc import Sequence
from typing import Protocol

from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import (
    LaunchAttempt,
    LaunchOrder,
    Machine,
    MachineImage,
    Outcome,
    Place,
    Remain,
)
from ciab.core.spec import Spec


class Attempts(Protocol):
    """The record of requests that may cost money. Written before the call, in the database."""

    async def begin(self, attempt: LaunchAttempt) -> None:
        """Record an OPEN attempt, durably, before its request is sent."""
        ...

    async def settle(self, attempt: LaunchAttempt, outcome: Outcome, machine_id: str | None = None) -> None:
        """Record the provider's clear word."""
        ...

    async def past(self, sandbox_id: SandboxId) -> Sequence[LaunchAttempt]:
        """All attempts of a sandbox in the order of their numbers."""
        ...

    async def regions(self) -> Sequence[Place]:
        """Every place that a launch was ever tried in."""
        ...


class Machines(Protocol):
    """The runtime. Raises RuntimeUnavailable (try again), CapacityUnavailable or RuntimeRejected."""

    async def launch(self, order: LaunchOrder, attempts: Attempts) -> Machine:
        """One machine for this sandbox, however often it is called, in however many processes one after
        another: open attempts are repeated until their outcome is clear before a further one is made."""
        ...

    async def find(self, sandbox_id: SandboxId, place: Place) -> Machine | None:
        """The sandbox's machine as it is now, ended ones included while they are visible.

        Lookups lag behind launches: None soon after a launch means "not visible yet".
        """
        ...

    async def start(self, machine: Machine) -> None:
        """Boot a stopped machine again; starting a running one is no error."""
        ...

    async def stop(self, machine: Machine, *, hibernate: bool = False) -> None:
        """Shut it down and keep its disk, with `hibernate` its memory too; stopping a stopped one is no
        error. The provider may fail to keep the memory without a word: see Pulse.boot."""
        ...

    async def release(self, machine: Machine) -> None:
        """Leave a stopped machine, its disk and its interface to their user: tagged as released, then no
        longer as managed, so that nothing of ours finds them any more. Released ones are no error. Raises
        RuntimeUnavailable unless it is stopped: nobody would look after one that still runs."""
        ...

    async def terminate(self, sandbox_id: SandboxId, place: Place, attempts: Attempts) -> None:
        """Return when no machine of this sandbox can cost money any more, found by its attempts and by tag.

        An open attempt is repeated with its token and what it gives is ended. What was released is its
        user's and stays, whatever the attempts say.
        """
        ...

    async def owned(self, region: str) -> Sequence[Machine]:
        """Every machine in the region that carries this installation's tags and has not ended."""
        ...

    async def console(self, machine: Machine) -> str:
        """What the machine printed while booting; empty when there is nothing yet."""
        ...


class Remains(Protocol):
    """Whatever carries our tags, for the sweep. Raises as Machines does."""

    async def look(self, region: str, owner: OwnerId) -> Sequence[Remain]:
        """Managed machines that have not ended, volumes and network interfaces of this owner's."""
        ...

    async def again(self, remain: Remain) -> Remain | None:
        """The same thing as it is now, asked for by its id; None when it is gone or no longer managed."""
        ...

    async def end(self, remain: Remain) -> None:
        """Terminate the machine or delete the volume or interface; a thing that is gone is no error."""
        ...


class Prices(Protocol):
    """What things cost, in dollars an hour, machine, address and disk together. None: no price is known."""

    def running(self, machine: Machine) -> float | None:
        """While it runs."""
        ...

    def stopped(self, machine: Machine) -> float | None:
        """While only its disk is kept."""
        ...

    def asked(self, spec: Spec) -> float | None:
        """The most that a sandbox of this spec may cost while it runs; None also when one of several machine
        types that it may get has no price."""
        ...


class Images(Protocol):
    """What machines boot from."""

    async def choose(self, spec: Spec, place: Place) -> MachineImage:
        """The spec's image, else the configured one for the region, else the newest stock Ubuntu for the
        machine type's architecture. Raises RuntimeRejected when the image or the type does not exist."""
        ...
