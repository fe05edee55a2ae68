"""SandboxSpec: what a user asks for when a sandbox is to be made."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, JsonValue, SecretStr, model_validator

from ciab.core import spec as core
from ciab.core import tags
from ciab.core.errors import InvalidRequest
from ciab.core.secret import MASK, Secret
from ciab.schema.values import (
    STRICT,
    Argument,
    Commit,
    EnvName,
    EnvValue,
    GitUrl,
    GitWord,
    InsidePath,
    LabelKey,
    LabelValue,
    Name,
    Printable,
    Region,
    SecretText,
    Word,
)

LONGEST_SECS = 10 * 365 * 86_400
"""Ten years: whoever asks for more did not mean seconds."""

Secs = Annotated[float, Field(ge=0, le=LONGEST_SECS, allow_inf_nan=False)]


class GitRepo(BaseModel):
    """A repository to clone while the sandbox is made."""

    model_config = STRICT

    url: GitUrl
    branch: GitWord | None = None
    tag: GitWord | None = None
    commit: Commit | None = None
    dest_path: InsidePath | None = None
    """Below the workspace when relative; by default the repository's own name."""
    credential_id: Printable | None = None
    depth: Annotated[int, Field(ge=1)] | None = None
    sparse_paths: Annotated[list[GitWord], Field(max_length=1000)] = []
    submodules: bool = False

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if self.branch and self.tag:
            raise ValueError("name a branch or a tag, not both")
        return self

    def to_core(self) -> core.GitRepo:
        """The core's value."""
        return core.GitRepo(
            url=Secret(self.url.get_secret_value()),
            branch=self.branch,
            tag=self.tag,
            commit=self.commit,
            dest_path=self.dest_path,
            depth=self.depth,
            sparse_paths=tuple(self.sparse_paths),
            submodules=self.submodules,
        )

    @classmethod
    def from_core(cls, repo: core.GitRepo) -> Self:
        """As it was asked for; the URL's password is masked when it is written out."""
        return cls.model_construct(
            url=SecretStr(repo.url.reveal()),
            branch=repo.branch,
            tag=repo.tag,
            commit=repo.commit,
            dest_path=repo.dest_path,
            depth=repo.depth,
            sparse_paths=list(repo.sparse_paths),
            submodules=repo.submodules,
        )


class McpServer(BaseModel):
    """A tool server for the agent: a command on the machine, or a URL."""

    model_config = STRICT

    command: Argument | None = None
    args: list[Argument] = []
    env: dict[EnvName, EnvValue] = {}
    url: Printable | None = None
    headers: dict[Printable, SecretText] = {}


class AgentConfig(BaseModel):
    """How the agent is to work."""

    model_config = STRICT

    provider: Printable | None = None
    model: Printable | None = None
    system_prompt: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    tools_enabled: bool | None = None
    mcp_servers: dict[Name, McpServer] = {}
    allowed_tools: list[Printable] = []
    denied_tools: list[Printable] = []
    extra: dict[str, JsonValue] = {}


class Ec2Spec(BaseModel):
    """What this sandbox wants otherwise than the server's configuration has it."""

    model_config = STRICT

    region: Region | None = None
    instance_type: Word | None = None
    ami: Word | None = None
    subnet_id: Word | None = None
    security_group_ids: Annotated[list[Word], Field(max_length=16)] | None = None
    tags: dict[str, str] = {}
    spot: bool | None = None
    spot_grace_command: Annotated[list[Argument], Field(max_length=1000)] = []
    """Run on the machine, without a shell, when AWS announces that it takes the spot instance back."""

    @model_validator(mode="after")
    def _tags(self) -> Self:
        problem = tags.problem_with(self.tags)
        if problem:
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _program(self) -> Self:
        if self.spot_grace_command[:1] == [""]:
            raise ValueError("spot_grace_command: its first word names a program")
        return self

    def to_core(self, image: str | None) -> core.Ec2Overrides:
        """The core's value; `image` is the spec's own, which may not contradict `ami`."""
        if image and self.ami and image != self.ami:
            raise InvalidRequest("image and ec2.ami name two different images", hint="give one of them")
        groups = self.security_group_ids
        return core.Ec2Overrides(
            region=self.region,
            instance_type=self.instance_type,
            ami=self.ami,
            subnet_id=self.subnet_id,
            security_group_ids=None if groups is None else tuple(groups),
            tags=dict(self.tags),
            spot=self.spot,
            spot_grace_command=tuple(self.spot_grace_command),
        )

    @classmethod
    def from_core(cls, ec2: core.Ec2Overrides) -> Self:
        """As it was asked for."""
        groups = ec2.security_group_ids
        return cls.model_construct(
            region=ec2.region,
            instance_type=ec2.instance_type,
            ami=ec2.ami,
            subnet_id=ec2.subnet_id,
            security_group_ids=None if groups is None else list(groups),
            tags=dict(ec2.tags),
            spot=ec2.spot,
            spot_grace_command=list(ec2.spot_grace_command),
        )


class SandboxSpec(BaseModel):
    """A sandbox as its user asks for it. Secrets in it are shown as `***`."""

    model_config = STRICT

    agent_provider: Name
    name: Name | None = None
    """None: the server makes one up."""
    image: Word | None = None
    persistence: core.Persistence = core.Persistence.EPHEMERAL
    env_vars: Annotated[dict[EnvName, EnvValue], Field(max_length=1000)] = {}
    git_repos: Annotated[list[GitRepo], Field(max_length=100)] = []
    credentials: list[Printable] = []
    provisioning_scripts: Annotated[list[Argument], Field(max_length=100)] = []
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = {}
    timeout_secs: Secs | None = None
    """Its lifetime; 0: none, as far as the server's configuration allows that. None: as configured."""
    idle_timeout_secs: Secs | None = None
    """0: never idle. None: as configured."""
    workspace: Name | None = None
    """The workspace whose budget it shares."""
    agent_config: AgentConfig = AgentConfig()
    ec2: Ec2Spec = Ec2Spec()

    def to_core(self) -> core.Spec:
        """The core's value. Raises InvalidRequest for what this release does not have or cannot mean."""
        self._refuse_what_is_not_built()
        for name, value in self.env_vars.items():
            if value.get_secret_value() == MASK:
                raise InvalidRequest(
                    f"env_vars.{name} is {MASK}, which CIAB shows in place of a secret",
                    hint="give the value itself",
                )
        return core.Spec(
            agent_provider=self.agent_provider,
            image=self.image,
            persistence=self.persistence,
            env_vars={name: Secret(value.get_secret_value()) for name, value in self.env_vars.items()},
            git_repos=tuple(repo.to_core() for repo in self.git_repos),
            provisioning_scripts=tuple(self.provisioning_scripts),
            labels=dict(self.labels),
            ec2=self.ec2.to_core(self.image),
            timeout_secs=self.timeout_secs,
            idle_timeout_secs=self.idle_timeout_secs,
            workspace=self.workspace,
        )

    @classmethod
    def from_core(cls, name: str, spec: core.Spec) -> Self:
        """As it was asked for, under the name it got."""
        return cls.model_construct(
            agent_provider=spec.agent_provider,
            name=name,
            image=spec.image,
            persistence=spec.persistence,
            env_vars={key: SecretStr(value.reveal()) for key, value in spec.env_vars.items()},
            git_repos=[GitRepo.from_core(repo) for repo in spec.git_repos],
            provisioning_scripts=list(spec.provisioning_scripts),
            labels=dict(spec.labels),
            ec2=Ec2Spec.from_core(spec.ec2),
            timeout_secs=spec.timeout_secs,
            idle_timeout_secs=spec.idle_timeout_secs,
            workspace=spec.workspace,
        )

    def _refuse_what_is_not_built(self) -> None:
        later = {
            "credentials": bool(self.credentials),
            "git_repos.credential_id": any(repo.credential_id for repo in self.git_repos),
            "agent_config": self.agent_config != AgentConfig(),
        }
        for field, given in later.items():
            if given:
                raise InvalidRequest(f"this release does not have {field} yet", hint="leave it out")
