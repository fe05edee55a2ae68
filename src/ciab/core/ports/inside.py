"""What happens inside a machine, through one open connection."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Protocol

from ciab.core.guest import Command, Exit, FileInfo, Output, Pulse, Ran, Target
from ciab.core.ids import SandboxId


class Guest(Protocol):
    """Commands inside a machine."""

    async def run(self, command: Command, stdin: bytes = b"", *, limit_bytes: int) -> Ran:
        """Run to the end. Of each stream the first `limit_bytes` are kept and the rest is dropped."""
        ...

    def stream(
        self, command: Command, stdin: AsyncIterable[bytes] | None = None
    ) -> AsyncIterator[Output | Exit]:
        """Output as it happens and last an Exit. Closing the iterator ends the command's whole tree."""
        ...


class Files(Protocol):
    """Files inside a machine. Paths are absolute or begin with `~/`.

    Raises FileMissing, and InvalidRequest for what is not a regular file; it never waits on a FIFO or device.
    """

    async def list(self, path: str) -> Sequence[FileInfo]:
        """What a folder holds, by name; of a file, the file itself."""
        ...

    async def stat(self, path: str) -> FileInfo:
        """One file or folder."""
        ...

    def read(self, path: str) -> AsyncIterator[bytes]:
        """A regular file's bytes, streamed."""
        ...

    async def write(self, path: str, content: AsyncIterable[bytes], *, mode: int | None = None) -> FileInfo:
        """Replace a file in one move; missing folders are made, a reader sees the old or the new one."""
        ...

    async def delete(self, path: str) -> None:
        """Delete a file, a link or an empty folder."""
        ...


class Care(Protocol):
    """What the control plane does inside a machine for its own sake. Raises GuestFault."""

    async def pulse(self, *, spot: bool = False) -> Pulse:
        """Say that the control plane is there, which sets the machine's dead-man's switch anew, and look
        what has happened since; with `spot`, whether the provider takes the machine back."""
        ...

    async def disarm(self) -> None:
        """Take the dead-man's switch off, until the next pulse; a reboot does not set it again."""
        ...

    async def freeze(self) -> None:
        """Stop every process of the user's, children of `sudo` included, but not what we need to thaw them.
        Freezing what is frozen is no error."""
        ...

    async def thaw(self) -> None:
        """Let those go on that `freeze` stopped; what its user had stopped stays stopped."""
        ...


class Connection(Protocol):
    """An open connection inside a machine."""

    @property
    def guest(self) -> Guest:
        """Commands."""
        ...

    @property
    def files(self) -> Files:
        """Files."""
        ...

    @property
    def care(self) -> Care:
        """What the control plane does for itself."""
        ...


class Connections(Protocol):
    """Connections by sandbox: opened once however many ask, kept alive, shared."""

    async def connect(self, target: Target) -> Connection:
        """The open connection, or a new one. Raises GuestUnreachable (try again) or GuestFault."""
        ...

    async def close(self, sandbox_id: SandboxId) -> None:
        """Close the sandbox's connection, if there is one."""
        ...
