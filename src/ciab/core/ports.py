"""What the inside asks of the outside world. Every port has one contract suite that all its adapters pass.

A command's failure is a result; the machine's or the connection's failure is an exception.
"""

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ciab.core.events import StreamEvent
from ciab.core.guest import Command, Exit, FileInfo, Output, Ran, Target
from ciab.core.ids import SandboxId
from ciab.core.journal import Entry, StepStatus
from ciab.core.machine import (
    LaunchAttempt,
    LaunchOrder,
    Machine,
    MachineImage,
    Outcome,
    Place,
    SandboxKeys,
)
from ciab.core.sandbox import Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.core.states import State


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

    async def stop(self, machine: Machine) -> None:
        """Shut it down and keep its disk; stopping a stopped one is no error."""
        ...

    async def terminate(self, sandbox_id: SandboxId, place: Place, attempts: Attempts) -> None:
        """Return when no machine of this sandbox can cost money any more, found by its attempts and by tag.

        An open attempt is repeated with its token and what it gives is ended.
        """
        ...

    async def owned(self, region: str) -> Sequence[Machine]:
        """Every machine in the region that carries this installation's tags and has not ended."""
        ...

    async def console(self, machine: Machine) -> str:
        """What the machine printed while booting; empty when there is nothing yet."""
        ...


class Images(Protocol):
    """What machines boot from."""

    async def choose(self, spec: Spec, place: Place) -> MachineImage:
        """The spec's image, else the configured one for the region, else the newest stock Ubuntu for the
        machine type's architecture. Raises RuntimeRejected when the image or the type does not exist."""
        ...


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


class Connections(Protocol):
    """Connections by sandbox: opened once however many ask, kept alive, shared."""

    async def connect(self, target: Target) -> Connection:
        """The open connection, or a new one. Raises GuestUnreachable (try again) or GuestFault."""
        ...

    async def close(self, sandbox_id: SandboxId) -> None:
        """Close the sandbox's connection, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """Which sandboxes: newest first, `limit` at most, after the one whose id is `cursor`."""

    states: frozenset[State] | None = None
    provider: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    limit: int = 100
    cursor: SandboxId | None = None


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key with a digest of the request it came with."""

    key: str
    digest: str


class Store(Protocol):
    """Sandboxes and their journal, in one transaction."""

    async def add(self, sandbox: Sandbox, once: Once | None = None) -> Sandbox:
        """Keep a new sandbox; with a known `once`, give back the one it made before.

        Raises Conflict when a live sandbox has the name, or when the key came with another request.
        """
        ...

    async def save(self, sandbox: Sandbox, *entries: Entry) -> Sandbox:
        """Compare-and-set on `version`; gives the sandbox with the next one. Raises StaleVersion."""
        ...

    async def get(self, sandbox_id: SandboxId) -> Sandbox:
        """Raises SandboxNotFound. Ended sandboxes are kept for ever."""
        ...

    async def lookup(self, reference: str) -> Sandbox:
        """By id, by the name of a live sandbox (else the newest ended one), or by a unique prefix of an id
        of at least 4 characters. Raises SandboxNotFound, or Conflict when several match."""
        ...

    async def page(self, query: Query) -> Sequence[Sandbox]:
        """Sandboxes that match."""
        ...

    async def steps(self, sandbox_id: SandboxId) -> Mapping[str, StepStatus]:
        """The last status of every step ever begun."""
        ...


class Keys(Protocol):
    """Key pairs of sandboxes, encrypted at rest."""

    async def keep(self, sandbox_id: SandboxId, keys: SandboxKeys) -> SandboxKeys:
        """Save them unless there are some; gives those that are kept."""
        ...

    async def get(self, sandbox_id: SandboxId) -> SandboxKeys | None:
        """None: never made, or discarded."""
        ...

    async def discard(self, sandbox_id: SandboxId) -> None:
        """Remove keys and the attempts' requests, from the write-ahead log too."""
        ...


class Events(Protocol):
    """The stream of each sandbox, kept in the database."""

    def follow(self, sandbox_id: SandboxId, after: int) -> AsyncIterator[StreamEvent]:
        """Every event later than `after`, kept ones first, then live ones, with no gap and no repeat."""
        ...

    async def oldest(self, sandbox_id: SandboxId) -> int | None:
        """The oldest id still kept."""
        ...


class Vault(Protocol):
    """Encryption at rest. `owner` and `column` are bound: a ciphertext moved elsewhere does not open."""

    def seal(self, text: Secret, owner: str, column: str) -> bytes:
        """Encrypt, with a fresh nonce."""
        ...

    def open(self, sealed: bytes, owner: str, column: str) -> Secret:
        """Decrypt. Raises ConfigError when the key is another one or the text was tampered with."""
        ...
