"""What was asked for. Values here are already valid: the edge checks them before it makes a spec."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ciab.core.secret import Secret


class Persistence(StrEnum):
    """What an orderly end of the server does with the sandbox: terminate it, or stop it."""

    EPHEMERAL = "ephemeral"
    PERSISTENT = "persistent"


@dataclass(frozen=True, slots=True)
class GitRepo:
    """A repository to clone. `url` may hold a password: it is a secret until it is masked."""

    url: Secret
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None
    dest_path: str | None = None
    """Below the workspace when relative; by default the repository's own name."""
    depth: int | None = None
    sparse_paths: tuple[str, ...] = ()
    submodules: bool = False


@dataclass(frozen=True, slots=True)
class Ec2Overrides:
    """What this sandbox wants otherwise than the configuration has it. None: as configured."""

    region: str | None = None
    instance_type: str | None = None
    ami: str | None = None
    subnet_id: str | None = None
    security_group_ids: tuple[str, ...] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    spot: bool | None = None
    spot_grace_command: tuple[str, ...] = ()
    """Run on the machine, as an argv, when the provider announces that it takes a spot machine back."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A sandbox as its user asked for it."""

    agent_provider: str
    image: str | None = None
    persistence: Persistence = Persistence.EPHEMERAL
    env_vars: Mapping[str, Secret] = field(default_factory=dict)
    git_repos: tuple[GitRepo, ...] = ()
    provisioning_scripts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    ec2: Ec2Overrides = Ec2Overrides()
    timeout_secs: float | None = None
    """Its lifetime; 0: none, as far as the configuration allows that. None: as configured."""
    idle_timeout_secs: float | None = None
    """0: never idle. None: as configured."""
    workspace: str | None = None
    """The group that it belongs to; the workspace's budget is for all of them together."""
