"""What the runtime owns: machines, the images they boot from, and the attempts to launch one."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from ciab.core.ids import SandboxId
from ciab.core.secret import Secret
from ciab.core.spec import Spec


@dataclass(frozen=True, slots=True)
class Place:
    """Where machines live. Absence counts only when asked in the place of the launch."""

    backend: str
    account: str
    endpoint: str
    """Empty for the provider's own; else what tells this endpoint from another."""
    region: str


@dataclass(frozen=True, slots=True)
class Login:
    """How a machine is reached, decided once when its sandbox begins."""

    user: str
    port: int
    address: Literal["public", "private"]
    key_pair: str = ""
    """The provider's key pair whose private key the operator keeps; empty: a key of the sandbox's own."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a sandbox keeps of the configuration that it began with, although that may change."""

    place: Place
    login: Login
    orphan_timeout: float = 0.0
    """The dead-man's switch of its machine, in seconds; 0: it has none."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An Ed25519 pair in OpenSSH's format: the public line, and the private file's text."""

    public: str
    private: Secret


@dataclass(frozen=True, slots=True)
class SandboxKeys:
    """Made by us before the launch: `user` lets us in, `host` proves that the machine is ours.

    `user` is None where the operator's own key pair lets us in: of that nothing is kept.
    """

    user: KeyPair | None
    host: KeyPair


@dataclass(frozen=True, slots=True)
class MachineImage:
    """What a machine boots from, as found in one region."""

    id: str
    root_device: str
    architecture: str
    name: str = ""


class MachineState(StrEnum):
    """ENDING and ENDED cost nothing and never come back."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ENDING = "ending"
    ENDED = "ended"


class Cause(StrEnum):
    """Why a machine stopped or ended."""

    ASKED = "asked"
    """Somebody asked the provider for it."""
    ITSELF = "itself"
    """A shutdown inside the machine."""
    SPOT = "spot"
    """The provider took a spot machine back."""
    PROVIDER = "provider"
    """The provider's own trouble: no capacity, an internal error, a broken volume."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The runtime's thing as last seen."""

    id: str
    sandbox_id: SandboxId
    state: MachineState
    type: str
    region: str
    zone: str
    image: str
    public_ip: str | None
    private_ip: str | None
    launched_at: datetime
    reason: str | None = None
    """Why it is in this state, in the provider's words, where it gives any."""
    cause: Cause | None = None
    """Who or what brought it to this state, as far as the provider's word for it is known."""
    spot: bool = False
    """The provider may take it back; it cannot be stopped."""
    hibernates: bool = False
    """Launched so that a stop can keep its memory."""


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """All that a launch depends on. The same sandbox always gives the same order."""

    sandbox_id: SandboxId
    name: str
    spec: Spec
    site: Site
    image: MachineImage
    keys: SandboxKeys
    authorized_key: str
    """The public line that lets us in, whoever's key it is."""


class Outcome(StrEnum):
    """OPEN: the call may have launched a machine. The other two are the provider's clear word."""

    OPEN = "open"
    LAUNCHED = "launched"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class LaunchAttempt:
    """One request that may cost money, recorded before it is sent.

    An OPEN one is repeated with the same token and request until its outcome is clear; only then
    may another type or zone be tried, under the next number. Attempts older than an hour are only
    searched for: the provider may have forgotten the token.
    """

    sandbox_id: SandboxId
    number: int
    place: Place
    token: str
    request: Secret = field(repr=False)
    """The exact request as JSON; it holds the host key."""
    begun_at: datetime
    outcome: Outcome = Outcome.OPEN
    machine_id: str | None = None
    settled_at: datetime | None = None
    """When the clear word came; a repeated attempt may launch its machine long after it was begun."""


class RemainKind(StrEnum):
    """What can be left behind and cost money."""

    MACHINE = "machine"
    VOLUME = "volume"
    INTERFACE = "interface"


@dataclass(frozen=True, slots=True)
class Remain:
    """A thing at the provider that carries our tags, as a sweep sees it."""

    kind: RemainKind
    id: str
    region: str
    sandbox_id: SandboxId
    state: str
    """In the provider's words."""
    free: bool
    """Ending it takes nothing away from anything else: any machine; a volume or interface only when it is
    attached to nothing."""
    keep: bool
    """It carries the tag that spares it."""
    born_at: datetime | None
    """None where the provider does not say: network interfaces."""
    build_id: str | None = None
    """The image build that it belongs to, if it is one's."""
