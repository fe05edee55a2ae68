"""From an order to the parameters of RunInstances. Pure: the same order gives the same request."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ciab.adapters.ec2.settings import Ec2Settings
from ciab.adapters.ec2.userdata import user_data
from ciab.core import tags
from ciab.core.errors import InvalidRequest
from ciab.core.ids import OwnerId
from ciab.core.machine import LaunchOrder
from ciab.core.spec import Persistence, Spec

Request = dict[str, Any]
"""Parameters of one call, as JSON can hold them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing to ask for. No subnet: EC2 takes a default one."""

    instance_type: str
    subnet_id: str | None
    spot: bool = False

    def __str__(self) -> str:
        kind = "spot " if self.spot else ""
        return f"{kind}{self.instance_type} in {self.subnet_id or 'the default subnet'}"


def candidates(spec: Spec, settings: Ec2Settings, region: str) -> Iterator[Candidate]:
    """What may be launched, in the order of trying: each type in every subnet. The spec's own values win.

    Where spot is wanted all of them come as spot first, and then, when there is none, on demand.
    """
    wanted = spec.ec2
    types = (
        [wanted.instance_type] if wanted.instance_type else [settings.instance_type, *settings.instance_types]
    )
    further = settings.subnet_ids if region == settings.region else []
    configured = [settings.within(region).subnet_id, *further]
    subnets = [wanted.subnet_id] if wanted.subnet_id else [subnet for subnet in configured if subnet]
    for spot in [True, False] if wants_spot(spec, settings) else [False]:
        for instance_type in dict.fromkeys(types):
            for subnet in dict.fromkeys(subnets or [""]):
                yield Candidate(instance_type, subnet or None, spot)


def wants_spot(spec: Spec, settings: Ec2Settings) -> bool:
    """Persistent ones never do: EC2 does not stop spot instances of one-time requests."""
    if spec.persistence is Persistence.PERSISTENT:
        return False
    return settings.spot if spec.ec2.spot is None else spec.ec2.spot


def check(spec: Spec, settings: Ec2Settings) -> None:
    """Raises InvalidRequest for what no machine could ever be launched with."""
    if wrong := tags.problem_with(spec.ec2.tags):
        raise InvalidRequest(f"ec2.tags: {wrong}")
    if len(both := {**settings.tags, **spec.ec2.tags}) > tags.MAX_USER_TAGS:
        raise InvalidRequest(
            f"the sandbox's tags and the configured ones are {len(both)}; EC2 takes {tags.MAX_TAGS} a "
            f"resource, and {len(tags.OURS)} of them are CIAB's own",
            hint="leave out some of ec2.tags or of [runtime.ec2.tags]",
        )
    if spec.ec2.spot and spec.persistence is Persistence.PERSISTENT:
        raise InvalidRequest(
            "a spot instance cannot be stopped, so a persistent sandbox cannot be one",
            hint="leave out ec2.spot, or make the sandbox ephemeral",
        )


def run_instances(
    order: LaunchOrder, settings: Ec2Settings, owner: OwnerId, candidate: Candidate, token: str
) -> Request:
    """The parameters of RunInstances. Raises InvalidRequest or RuntimeRejected when there can be none."""
    check(order.spec, settings)
    ephemeral = order.spec.persistence is Persistence.EPHEMERAL
    request: Request = {
        "ClientToken": token,
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": order.image.id,
        "InstanceType": candidate.instance_type,
        "UserData": _user_data(order),
        # a shutdown inside an ephemeral machine ends it and its bill; a persistent one keeps its disk
        "InstanceInitiatedShutdownBehavior": "terminate" if ephemeral else "stop",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "BlockDeviceMappings": [{"DeviceName": order.image.root_device, "Ebs": _root_volume(settings)}],
        "NetworkInterfaces": [_interface(order, settings, candidate)],
        "TagSpecifications": _tag_specifications(order, settings, owner),
    }
    if settings.iam_instance_profile:
        request["IamInstanceProfile"] = _profile(settings.iam_instance_profile)
    if order.site.login.key_pair:
        request["KeyName"] = order.site.login.key_pair
    if candidate.spot:
        # one-time and terminated when taken back: EC2 refuses hibernation together with that
        request["InstanceMarketOptions"] = _market(settings)
    elif settings.hibernate_on_pause:
        request["HibernationOptions"] = {"Configured": True}
    return request


def _user_data(order: LaunchOrder) -> str:
    login, orphan_secs = order.site.login, round(order.site.orphan_timeout)
    return user_data(order.keys.host, order.authorized_key, login.user, login.port, orphan_secs)


def _root_volume(settings: Ec2Settings) -> Request:
    volume: Request = {
        "VolumeSize": settings.root_volume_size_gb,
        "VolumeType": settings.root_volume_type,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    if settings.root_volume_iops:
        volume["Iops"] = settings.root_volume_iops
    return volume


def _interface(order: LaunchOrder, settings: Ec2Settings, candidate: Candidate) -> Request:
    # Always in this form: only here can a public address be asked for or refused whatever the subnet's own
    # setting is; and once there is an interface, subnet and groups may stand nowhere else.
    region = order.site.place.region
    groups = order.spec.ec2.security_group_ids
    if groups is None:
        groups = tuple(settings.within(region).security_group_ids)
    interface: Request = {
        "DeviceIndex": 0,
        "AssociatePublicIpAddress": settings.associate_public_ip,
        "DeleteOnTermination": True,
    }
    if candidate.subnet_id:
        interface["SubnetId"] = candidate.subnet_id
    if groups:
        interface["Groups"] = list(groups)
    return interface


def _tag_specifications(order: LaunchOrder, settings: Ec2Settings, owner: OwnerId) -> list[Request]:
    worn = {
        **settings.tags,
        **order.spec.ec2.tags,
        tags.SANDBOX_ID: str(order.sandbox_id),
        tags.MANAGED: tags.TRUE,
        tags.OWNER: str(owner),
        tags.NAME: f"ciab-{order.name}"[: tags.MAX_VALUE],
    }
    listed = [{"Key": key, "Value": value} for key, value in sorted(worn.items())]
    kinds = ("instance", "volume", "network-interface")
    return [{"ResourceType": kind, "Tags": listed} for kind in kinds]


def _profile(profile: str) -> Request:
    return {"Arn": profile} if profile.startswith("arn:") else {"Name": profile}


def _market(settings: Ec2Settings) -> Request:
    options: Request = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    if settings.spot_max_price:
        options["MaxPrice"] = settings.spot_max_price
    return {"MarketType": "spot", "SpotOptions": options}
