"""What happens inside a machine: commands and their output, files, and the address of it all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ciab.core.ids import SandboxId
from ciab.core.secret import Secret


@dataclass(frozen=True, slots=True)
class Target:
    """One machine as SSH sees it. `host_key` is the pinned public line: any other is refused."""

    sandbox_id: SandboxId
    host: str
    port: int
    user: str
    host_key: str
    user_key: Secret
    """The private key's OpenSSH text."""


@dataclass(frozen=True, slots=True)
class Command:
    """`argv` is run as it is, without a shell. The environment never stands on a command line."""

    argv: tuple[str, ...]
    workdir: str | None = None
    """None: ~/workspace where it exists, else the home. Relative paths are below that; `~/` is the home."""
    env: Mapping[str, Secret] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds; then the whole process tree is ended and the exit code is 124."""


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes as the command wrote them."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a command: 124 timed out, 126 not executable, 127 not found, 128+n ended by signal n."""

    code: int
    duration_ms: int
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Ran:
    """A command's result as a whole; `truncated` when output beyond the limit was dropped."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    duration_ms: int
    timed_out: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Pulse:
    """What one beat of the control plane's heart brings back from a machine."""

    boot: str
    """Another text after every boot of the machine, the same after a resume that kept its memory."""
    cpu_seconds: float
    """CPU time that the user's processes have used since the last pulse, ours left out."""
    over_seconds: float
    """Over how long, by the machine's own monotonic clock; 0 at the first pulse of a boot."""
    interruption: str | None = None
    """When the provider will take a spot machine back, as it announces it."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """`mode` is the permission bits; `path` is absolute."""

    path: str
    size: int
    is_dir: bool
    mode: int
    modified_at: datetime
