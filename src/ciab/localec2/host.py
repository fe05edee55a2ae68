"""What the region asks of whoever runs its machines."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MachineOrder:
    """One boot of one instance. The folder is its disk: it outlives stops and ends with `destroy`."""

    instance_id: str
    region: str
    zone: str
    instance_type: str
    image_id: str
    folder: Path
    private_ip: str
    """In 127.0.0.0/8, the same for the instance's whole life; SSH listens here."""
    public_ip: str | None
    """In 127.0.0.0/8, another one after every stop and start; SSH listens here too. None: it has none."""
    user_data: bytes | None
    """As the caller sent it, base64 removed; possibly gzipped. It may hold private keys: never log it."""
    key_name: str | None
    public_key: str | None
    """The OpenSSH line of the key pair that KeyName names."""
    spot: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """What a spot machine is told before it is taken back."""

    action: str
    """As in the metadata service's `spot/instance-action`: "terminate"."""
    at: datetime
    """Aware UTC, whole seconds."""


class MachineHost(Protocol):
    """Boots and ends machines. Ids it does not know are no error in `stop` and `destroy`."""

    isolation: str
    """What keeps a machine from its host: "bubblewrap", "namespaces" or "none"."""

    async def start(self, order: MachineOrder, ended: Callable[[int], None]) -> None:
        """Boot, and return when the machine's first process runs; SSH answers later.

        `ended(exit_code)` is called once if the machine ends without `stop` or `destroy`
        (`poweroff` inside, a crash). One that hibernates goes on where it was, at the order's addresses,
        if its memory is still there. Raises MachineError when it cannot be booted.
        """
        ...

    async def stop(self, instance_id: str, *, force: bool = False) -> None:
        """End all its processes; return when its addresses refuse connections. The folder stays."""
        ...

    async def hibernate(self, instance_id: str) -> bool:
        """As `stop`, but keep its processes for the next `start`; they are lost when this process ends.

        False: that could not be, and it was stopped. Its monotonic clock goes on, unlike a real one's.
        """
        ...

    async def announce(self, instance_id: str, notice: Notice) -> None:
        """Let a running machine know, where it has a metadata service."""
        ...

    async def destroy(self, instance_id: str) -> None:
        """Stop it and remove its folder."""
        ...

    def console(self, instance_id: str) -> str:
        """What the machine printed while booting: the last 64 KB."""
        ...

    async def close(self) -> None:
        """Stop everything. Folders stay."""
        ...


class MachineError(Exception):
    """A machine could not be booted; the message says what was tried and what to do."""
