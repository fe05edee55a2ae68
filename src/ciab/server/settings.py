"""`config.toml` as types: every key, its default, its limits, and the description for the reference."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from ciab.adapters.db import database_path
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.errors import ConfigError
from ciab.server.agent_settings import AgentsSettings


def _home_expanded(text: str) -> str:
    return str(Path(text).expanduser()) if text.startswith("~") else text


def _database(url: str) -> str:
    try:
        database_path(url)
    except ConfigError as exc:
        raise ValueError(f"{exc.message.partition(': ')[2]}; {exc.hint}") from exc
    return url


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s*]+", text):
        raise ValueError('must be an origin, like "https://ciab.example.org"')
    return text


def _api_key(key: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", key.get_secret_value()):
        raise ValueError("a key is printable ASCII without spaces: it travels in a header")
    return key


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_home_expanded)]
Hostname = Annotated[str, Field(pattern=r"^[^\s/]+$")]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, also defaults are validated."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ServerSettings(Section):
    """Where the API listens."""

    host: Hostname = Field(
        default="127.0.0.1",
        description="Address to listen on. Any other than loopback needs [security] api_keys.",
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=9090, description="Port to listen on; 0: a free one."
    )
    public_hosts: list[Hostname] = Field(
        default_factory=list,
        description="Names by which browsers may reach the server. A Host or Origin that is neither "
        "loopback nor listed gets 403, WebSockets too.",
    )
    request_timeout_secs: Seconds = Field(
        default=300, description="Longest time a request may take, streams apart."
    )
    cors_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        default_factory=list, description="Origins of web pages that may call the API."
    )
    watch_interval_secs: Seconds = Field(
        default=15,
        description="Seconds between two looks at all sandboxes: whether their machines are as they were "
        "left, and whether a lifetime, an idle timeout or a budget has been reached.",
    )
    shutdown_timeout_secs: Seconds = Field(
        default=120,
        description="Longest time that cleaning up at the server's end may take. What is left then is named, "
        "and the next start goes on with it.",
    )


class DatabaseSettings(Section):
    """Where sandboxes, their journal and their sealed secrets are kept."""

    url: Annotated[str, AfterValidator(_database)] = Field(
        default="sqlite:///~/.local/share/ciab/ciab.db",
        description="An SQLite file. The generated encryption key lies beside it, as encryption.key.",
    )

    @property
    def path(self) -> Path:
        """The file."""
        return database_path(self.url)

    @property
    def key_file(self) -> Path:
        """Where the generated encryption key lies."""
        return self.path.with_name("encryption.key")


class LocalSettings(Section):
    """The EC2 region on this machine."""

    allow_unisolated: bool = Field(
        default=False, description="Let real agents run on local machines where bubblewrap does not work."
    )


class RuntimeSettings(Section):
    """What owns the machines."""

    backend: Literal["local", "ec2"] = Field(
        default="local", description='"local": an EC2 region on this machine; "ec2": AWS.'
    )
    ec2: Ec2Settings = Ec2Settings()
    local: LocalSettings = LocalSettings()

    @property
    def ssh_port(self) -> int:
        """The SSH port of machines; its default depends on the backend."""
        return self.ec2.port(self.backend)


class BudgetSettings(Section):
    """Limits on what machines may cost, in dollars; 0: none.

    At 80 % those who follow a sandbox are warned. When a budget is used up, the machines that it is for are
    stopped, and no further sandbox can be made over it. What no price is known for is not counted.
    """

    per_sandbox: Dollars = Field(default=0, description="Dollars that one sandbox may cost in its life.")
    per_workspace: Dollars = Field(
        default=0,
        description="Dollars that all sandboxes of one workspace may cost together, ended ones included.",
    )
    per_day: Dollars = Field(
        default=0, description="Dollars that all sandboxes together may cost in a day (UTC)."
    )


class ReaperSettings(Section):
    """The sweep that ends what no live sandbox owns any more; see also `ciab gc`."""

    interval_secs: Seconds = Field(default=300, description="Seconds between two sweeps.")
    grace_secs: Seconds = Field(
        default=600,
        description="Nothing younger than so many seconds is taken; and a machine that the provider does not "
        "show for so long is believed gone.",
    )
    max_per_sweep: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=20, description="Most that one sweep ends; the next one goes on."
    )


class PackerSettings(Section):
    """How images are built."""

    binary_path: LocalPath = Field(default="packer", description="The packer program, by name or path.")
    work_dir: LocalPath = Field(
        default="~/.cache/ciab/packer", description="Folder for templates and plug-ins."
    )
    default_region: Annotated[str, Field(pattern=r"^[a-z]{2,}(-[a-z0-9]+)+$")] = Field(
        default="us-east-1", description="Region of builds that name none."
    )
    build_instance_type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")] = Field(
        default="t3.medium", description="Type of the machine an image is built on."
    )
    build_subnet_id: Annotated[str, Field(pattern=r"^(subnet-[0-9a-zA-Z]+)?$")] = Field(
        default="", description="Subnet of builds; empty: the default VPC's default subnet."
    )
    build_timeout_secs: Seconds = Field(default=1800, description="Longest time a build may take.")
    template_source: Annotated[str, Field(min_length=1)] = Field(
        default="builtin://default-ec2",
        description="Template of builds that name none: builtin://NAME, a path, an http(s) URL, or "
        "git::URL//path?ref=REF.",
    )
    allowed_sources: list[str] = Field(
        default_factory=list, description="Templates that API callers may name besides builtin://."
    )


class CredentialsSettings(Section):
    """How secrets are kept, and how they reach agents."""

    encryption_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        default="CIAB_ENCRYPTION_KEY",
        description="Environment variable that holds the encryption key: 32 bytes, base64 or hex. Without "
        "it a key is made on the first start, beside the database.",
    )
    mode: Literal["gateway", "inject"] = Field(
        default="gateway",
        description='"gateway": model keys stay on the server, agents reach the model through it; '
        '"inject": they are put on the machine.',
    )


class ProvisioningSettings(Section):
    """How sandboxes are made ready."""

    timeout_secs: Seconds = Field(
        default=900, description="Longest time for each repository and each provisioning script."
    )


class StreamingSettings(Section):
    """The event streams."""

    keepalive_interval_secs: Seconds = Field(
        default=15, description="Seconds between signs of life on a quiet stream."
    )
    retain_events: Annotated[int, Field(ge=1)] = Field(
        default=100_000, description="Stream events kept for each sandbox. The journal is never evicted."
    )


class SecuritySettings(Section):
    """Who may call the API."""

    api_keys: list[Annotated[SecretStr, AfterValidator(_api_key)]] = Field(
        default_factory=list, description="Keys that callers must show; empty: loopback callers need none."
    )


class LoggingSettings(Section):
    """The server's log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level to log."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="Lines for people, or one JSON object a line."
    )


class Settings(Section):
    """The whole file."""

    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    budgets: BudgetSettings = BudgetSettings()
    reaper: ReaperSettings = ReaperSettings()
    packer: PackerSettings = Field(default_factory=PackerSettings)
    agents: AgentsSettings = AgentsSettings()
    credentials: CredentialsSettings = CredentialsSettings()
    provisioning: ProvisioningSettings = ProvisioningSettings()
    streaming: StreamingSettings = StreamingSettings()
    security: SecuritySettings = SecuritySettings()
    logging: LoggingSettings = LoggingSettings()

    @model_validator(mode="after")
    def _reachable_only_with_keys(self) -> "Settings":
        if not is_loopback(self.server.host) and not self.security.api_keys:
            raise ValueError(
                f'server.host = "{self.server.host}" lets other machines in, and without security.api_keys '
                "anybody on the network could run commands; set api_keys, or listen on 127.0.0.1"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
