"""The settings of `[runtime.ec2]`. Each field's description is its entry in the configuration reference."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ciab.core.tags import problem_with

Backend = Literal["local", "ec2"]
SSH_PORT_OF_LOCAL = 2222
"""Machines of the local region run without root, so they cannot listen below port 1024."""

_MAX_SECONDS = 10 * 365 * 86400
_IOPS = {"gp3": (3_000, 80_000), "io1": (100, 64_000), "io2": (100, 256_000)}
_SIZES_GB = {"gp2": (1, 16_384), "gp3": (1, 65_536), "io1": (4, 16_384), "io2": (4, 65_536)}


def _tags(tags: dict[str, str]) -> dict[str, str]:
    if wrong := problem_with(tags):
        raise ValueError(wrong)
    return tags


def _price(text: str) -> str:
    if text and not (re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text) and float(text) > 0):
        raise ValueError('must be dollars an hour as a text, like "0.05", or empty')
    return text


Id = Annotated[str, Field(pattern=r"^\S*$", max_length=256)]
AmiId = Annotated[str, Field(pattern=r"^(ami-[0-9a-zA-Z]+)?$")]
SubnetId = Annotated[str, Field(pattern=r"^(subnet-[0-9a-zA-Z]+)?$")]
Region = Annotated[str, Field(pattern=r"^[a-z]{2,}(-[a-z0-9]+)+$")]
InstanceType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
GroupIds = list[Annotated[str, Field(pattern=r"^sg-[0-9a-zA-Z]+$")]]
SubnetIds = list[Annotated[str, Field(pattern=r"^subnet-[0-9a-zA-Z]+$")]]
Seconds = Annotated[int, Field(ge=0, le=_MAX_SECONDS)]
Timeout = Annotated[int, Field(ge=1, le=86_400)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
    )


class RegionSettings(_Settings):
    """What belongs to one region only. An empty value falls back on EC2's default there."""

    default_ami: AmiId = Field(
        default="", description="Image of this region; empty: the newest Ubuntu 22.04 LTS."
    )
    subnet_id: SubnetId = Field(
        default="", description="Subnet of this region; empty: the default VPC's default one."
    )
    security_group_ids: GroupIds = Field(
        default_factory=list, description="Security groups of this region; empty: the VPC's default group."
    )


class Ec2Settings(_Settings):
    """`[runtime.ec2]`: where machines are launched, what they are, and how they are reached."""

    region: Region = Field(default="us-east-1", description="Region of sandboxes that name none.")
    endpoint_url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = Field(
        default="", description="Another EC2-compatible endpoint; empty: AWS."
    )
    default_ami: AmiId = Field(
        default="",
        description="Image of the default region. Empty: the newest Ubuntu 22.04 LTS of Canonical for the "
        "type's architecture, and the agent is installed at creation.",
    )
    instance_type: InstanceType = Field(default="t3.medium", description="Type of machine.")
    instance_types: list[InstanceType] = Field(
        default_factory=list, description="Further types to try, in order, when there is no capacity."
    )
    subnet_id: SubnetId = Field(
        default="", description="Subnet of the default region; empty: the default VPC's default subnet."
    )
    subnet_ids: SubnetIds = Field(
        default_factory=list, description="Further subnets (zones) of the default region to try."
    )
    security_group_ids: GroupIds = Field(
        default_factory=list,
        description="Security groups of the default region; they must let the CIAB server in on ssh_port. "
        "Empty: the VPC's default group.",
    )
    associate_public_ip: bool = Field(default=True, description="Whether machines get a public IPv4 address.")
    connect_address: Literal["public", "private"] = Field(
        default="public",
        description='Address by which machines are reached; "private": the server is in the VPC.',
    )
    ssh_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = Field(
        default="ubuntu",
        description="User that agents and commands run as; made on the machine if it is not there.",
    )
    ssh_port: Annotated[int, Field(ge=1, le=65_535)] = Field(
        default=22,
        description="Port of the machine's SSH server; another one than 22 is set on the machine by its "
        f'user-data. Under backend "local" the default is {SSH_PORT_OF_LOCAL}.',
    )
    ssh_timeout_secs: Timeout = Field(default=120, description='Seconds from "running" to a first SSH login.')
    key_pair_name: Id = Field(
        default="",
        description="Empty: an ephemeral Ed25519 key pair for each sandbox; else this AWS key pair, with its "
        "private key at ~/.ssh/<name>.pem.",
    )
    iam_instance_profile: Id = Field(
        default="", description="Instance profile of the machines, as an ARN or a name."
    )
    root_volume_size_gb: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=30, description="Size of the root volume in GiB."
    )
    root_volume_type: Literal["gp3", "gp2", "io1", "io2"] = Field(
        default="gp3", description="Type of the root volume."
    )
    root_volume_iops: Annotated[int, Field(ge=0, le=256_000)] = Field(
        default=0,
        description="IOPS of the root volume; needed for io1 and io2, optional for gp3. 0: the type's own.",
    )
    terminate_on_delete: bool = Field(
        default=True,
        description="false: deleting a sandbox that has run stops its instance and leaves it, tagged as "
        "released.",
    )
    stop_on_pause: bool = Field(
        default=True,
        description="false: a paused instance keeps running and the sandbox's processes are frozen.",
    )
    hibernate_on_pause: bool = Field(default=False, description="Pause by hibernation: memory is kept too.")
    auto_resume: bool = Field(default=False, description="An access to a paused sandbox resumes it.")
    instance_ready_timeout_secs: Timeout = Field(
        default=180, description='Seconds from the launch or start of an instance to "running".'
    )
    on_shutdown: Literal["cleanup", "keep"] = Field(
        default="cleanup",
        description="What an orderly end of the server does: terminate ephemeral sandboxes and stop "
        'persistent ones, or "keep" them running.',
    )
    max_lifetime_secs: Seconds = Field(default=0, description="Longest life of a sandbox; 0: none.")
    idle_timeout_secs: Seconds = Field(
        default=0, description="Idle seconds after which idle_action is done; 0: never."
    )
    idle_action: Literal["pause", "stop", "terminate"] = Field(
        default="pause",
        description='What happens to an idle sandbox. "pause" and "stop" both stop its instance; a spot '
        "instance, which cannot be stopped, is terminated instead.",
    )
    orphan_timeout_secs: Seconds = Field(
        default=86_400,
        description="An ephemeral machine that has not heard of its control plane for so long ends itself; "
        "0: off.",
    )
    spot: bool = Field(
        default=False,
        description="Launch ephemeral sandboxes as spot instances; persistent ones are on-demand.",
    )
    spot_max_price: Annotated[str, AfterValidator(_price)] = Field(
        default="", description="Highest spot price in dollars an hour; empty: the on-demand price."
    )
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = Field(
        default_factory=dict, description="Tags on every instance, its volumes and network interfaces."
    )
    regions: dict[Region, RegionSettings] = Field(
        default_factory=dict,
        description="What belongs to another region: the default region's subnet, groups and AMI never go "
        "to it.",
    )
    prices: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="Dollars an hour by type; they win over the built-in table."
    )

    @model_validator(mode="after")
    def _possible(self) -> "Ec2Settings":
        for wrong in (self._wrong_volume(), self._wrong_address(), self._wrong_pause()):
            if wrong:
                raise ValueError(wrong)
        return self

    def _wrong_volume(self) -> str | None:
        kind, iops = self.root_volume_type, self.root_volume_iops
        least, most = _SIZES_GB[kind]
        if not least <= self.root_volume_size_gb <= most:
            return f"root_volume_size_gb of a {kind} volume must be from {least} to {most}"
        if kind in {"io1", "io2"} and not iops:
            return f'root_volume_type = "{kind}" needs root_volume_iops'
        if iops and kind not in _IOPS:
            return f'root_volume_iops cannot be set for root_volume_type = "{kind}"'
        if iops and not _IOPS[kind][0] <= iops <= _IOPS[kind][1]:
            return f"root_volume_iops of a {kind} volume must be from {_IOPS[kind][0]} to {_IOPS[kind][1]}"
        return None

    def _wrong_address(self) -> str | None:
        if self.connect_address == "public" and not self.associate_public_ip:
            return 'connect_address = "public" needs associate_public_ip = true'
        return None

    def _wrong_pause(self) -> str | None:
        if self.hibernate_on_pause and not self.stop_on_pause:
            return "hibernate_on_pause = true needs stop_on_pause = true: hibernating stops the instance"
        if self.hibernate_on_pause and self.spot:
            return (
                "spot = true and hibernate_on_pause = true exclude each other: a spot instance of CIAB's "
                "cannot be stopped, so its memory cannot be kept; set one of them to false"
            )
        return None

    def port(self, backend: Backend) -> int:
        """The SSH port of machines; the default depends on the backend."""
        if backend == "local" and "ssh_port" not in self.model_fields_set:
            return SSH_PORT_OF_LOCAL
        return self.ssh_port

    def within(self, region: str) -> RegionSettings:
        """What the region's machines use: its own section; the top level counts in its own region only."""
        own = self.regions.get(region, RegionSettings())
        if region != self.region:
            return own
        return RegionSettings(
            default_ami=own.default_ami or self.default_ami,
            subnet_id=own.subnet_id or self.subnet_id,
            security_group_ids=own.security_group_ids or self.security_group_ids,
        )
