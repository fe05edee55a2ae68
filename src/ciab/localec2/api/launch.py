"""RunInstances: from the request to checked facts, and from those to moto's instance with disks and tags."""

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from moto.ec2.models.instances import Instance, Reservation
from moto.ec2.models.subnets import Subnet
from moto.ec2.utils import parse_user_data

from ciab.localec2.api import checks, spot
from ciab.localec2.api.backend import OFFERED, RegionBackend
from ciab.localec2.api.checks import Params
from ciab.localec2.api.faults import Faults
from ciab.localec2.api.plain import ACCOUNT
from ciab.localec2.api.wire import ApiError


@dataclass(frozen=True, slots=True)
class Plan:
    """A launch that EC2 would accept, but for capacity and quota."""

    image: Any
    instance_type: str
    zone: str | None
    """None: the caller named neither zone nor subnet, and EC2 chooses."""
    subnet: Subnet | None
    public: bool | None
    """None: as the subnet has it."""
    groups: list[str]
    count: int
    user_data: str | None
    disks: dict[str, dict[str, Any]]
    tags: dict[str, dict[str, str]]
    profile: str | None
    spot: bool
    hibernates: bool
    nic: dict[str, Any] = field(default_factory=dict)


def plan(backend: RegionBackend, params: Params, faults: Faults) -> Plan:
    """Raises ApiError as EC2 answers what it does not accept."""
    nic = _nic(params)
    subnet_id = nic.get("SubnetId") or params.get("SubnetId")
    subnet = _subnet(backend, subnet_id) if subnet_id else None
    zone = subnet.availability_zone if subnet else params.get("Placement", {}).get("AvailabilityZone")
    if zone and backend.get_zone_by_name(zone) is None:
        raise ApiError("InvalidParameterValue", f"Invalid availability zone: [{zone}]")
    instance_type = params.get("InstanceType", "m1.small")
    if instance_type not in OFFERED:
        raise ApiError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    image = _image(backend, params.get("ImageId"), instance_type)
    if (key := params.get("KeyName")) is not None and key not in backend.key_pairs:
        raise ApiError("InvalidKeyPair.NotFound", f"The key pair '{key}' does not exist")
    checks.user_data(params.get("UserData"))
    checks.metadata_options(params.get("MetadataOptions", {}))
    checks.shutdown_behaviour(params.get("InstanceInitiatedShutdownBehavior"))
    disks = _disks(image, params)
    memory_mib = OFFERED[instance_type]["MemoryInfo"]["SizeInMiB"]
    return Plan(
        image=image,
        instance_type=instance_type,
        zone=zone,
        subnet=subnet,
        public=nic.get("AssociatePublicIpAddress"),
        groups=_groups(backend, params, nic),
        count=_count(params),
        user_data=params.get("UserData"),
        disks=disks,
        tags=checks.tags_at_launch(params),
        profile=checks.instance_profile(
            params.get("IamInstanceProfile", {}), faults.missing_profiles, ACCOUNT
        ),
        spot=spot.asked(params, instance_type, faults),
        hibernates=checks.hibernation(
            params.get("HibernationOptions", {}), disks[image.root_device_name], memory_mib
        ),
        nic=nic,
    )


def launch(backend: RegionBackend, plan: Plan, zone: str, params: Params) -> Reservation:
    """Make moto's instance, volumes and network interfaces. Their addresses and state are set afterwards."""
    subnet = plan.subnet or backend.get_default_subnets().get(zone)
    if subnet is None:
        raise ApiError("MissingInput", f"No default subnet for availability zone: '{zone}'.")
    public = subnet.map_public_ip_on_launch is True if plan.public is None else plan.public
    reservation = backend.run_instances(
        plan.image.id,
        plan.count,
        parse_user_data(plan.user_data),
        [],
        instance_type=plan.instance_type,
        is_instance_type_default=False,
        region_name=backend.region_name,
        subnet_id=subnet.id,
        security_group_ids=plan.groups or _default_group(backend, subnet),
        key_name=params.get("KeyName"),
        nics=[],
        associate_public_ip=public,
        tags=plan.tags,
        block_device_mappings=[],
        ebs_optimized=params.get("EbsOptimized", False),
        disable_api_termination=params.get("DisableApiTermination", False),
        disable_api_stop=params.get("DisableApiStop", False),
        monitoring_state="enabled" if params.get("Monitoring", {}).get("Enabled") else "disabled",
        instance_initiated_shutdown_behavior=params.get("InstanceInitiatedShutdownBehavior"),
        hibernation_options={"Configured": plan.hibernates},
        metadata_options=params.get("MetadataOptions", {}),
        client_token=params.get("ClientToken", ""),
        lifecycle="spot" if plan.spot else None,
    )
    for instance in reservation.instances:
        if plan.profile:
            instance.iam_instance_profile = {"Arn": plan.profile, "Id": "AIPALOCALPROFILE00000"}
        if plan.spot:
            shown: Any = instance  # what moto does not keep but shows
            shown.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
        _fit_interface(backend, instance, plan)
        _add_disks(backend, instance, plan)
    return reservation


def _default_group(backend: RegionBackend, subnet: Subnet) -> list[str]:
    group = backend.get_default_security_group(subnet.vpc_id)
    return [group.id] if group else []


def _fit_interface(backend: RegionBackend, instance: Instance, plan: Plan) -> None:
    interface = instance.nics[0]
    # moto would give addresses of its own at every start
    interface.public_ip_auto_assign = False
    interface.public_ip = None
    interface.delete_on_termination = plan.nic.get("DeleteOnTermination", True)
    interface.add_tags(plan.tags.get("network-interface", {}))


def _add_disks(backend: RegionBackend, instance: Instance, plan: Plan) -> None:
    for name, ebs in plan.disks.items():
        volume = backend.create_volume(
            size=ebs["VolumeSize"],
            zone_name=instance.placement.zone or "",
            snapshot_id=ebs.get("SnapshotId"),
            encrypted=ebs.get("Encrypted", False),
            kms_key_id=ebs.get("KmsKeyId"),
            volume_type=ebs.get("VolumeType", "gp2"),
            iops=ebs.get("Iops"),
            throughput=ebs.get("Throughput"),
        )
        attached: Any = backend.attach_volume(
            volume.id, instance.id, name, ebs.get("DeleteOnTermination", True)
        )
        attached.delete_on_termination = ebs.get("DeleteOnTermination", True)
        volume.add_tags(plan.tags.get("volume", {}))


def _nic(params: Params) -> dict[str, Any]:
    """The one network interface of the request, {} when it names none."""
    nics = params.get("NetworkInterfaces", [])
    if not nics:
        return {}
    clash = next((p for p in ("SubnetId", "SecurityGroupIds", "SecurityGroups") if params.get(p)), None)
    if clash:
        words = "subnet ID" if clash == "SubnetId" else "security groups"
        raise ApiError(
            "InvalidParameterCombination",
            f"Network interfaces and an instance-level {words} may not be specified on the same request",
        )
    if len(nics) > 1 or nics[0].get("DeviceIndex", 0) != 0 or nics[0].get("NetworkInterfaceId"):
        raise ApiError(
            "UnsupportedOperation", "This local region gives an instance one new interface, index 0."
        )
    return dict(nics[0])


def _subnet(backend: RegionBackend, subnet_id: str) -> Subnet:
    if not re.fullmatch(r"subnet-[0-9a-f]{8,17}", subnet_id):
        raise ApiError("InvalidSubnetID.Malformed", f'Invalid id: "{subnet_id}" (expecting "subnet-...")')
    subnet = backend.find_subnet(subnet_id)
    if subnet is None:
        raise ApiError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
    return subnet


def _image(backend: RegionBackend, image_id: str | None, instance_type: str) -> Any:
    if not image_id:
        raise ApiError("MissingParameter", "The request must contain the parameter ImageId")
    if not re.fullmatch(r"ami-[0-9a-f]{8,17}", image_id):
        raise ApiError("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
    image = backend.amis.get(image_id)
    if image is None:
        raise ApiError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    supported = OFFERED[instance_type]["ProcessorInfo"]["SupportedArchitectures"]
    if image.architecture not in supported:
        raise ApiError(
            "InvalidParameterValue",
            f"The architecture '{','.join(supported)}' of the specified instance type does not match the "
            f"architecture '{image.architecture}' of the specified AMI.",
        )
    return image


def _groups(backend: RegionBackend, params: Params, nic: dict[str, Any]) -> list[str]:
    ids = list(nic.get("Groups") or params.get("SecurityGroupIds") or [])
    for group_id in ids:
        if not re.fullmatch(r"sg-[0-9a-f]{8,17}", group_id):
            raise ApiError("InvalidGroupId.Malformed", f'Invalid id: "{group_id}" (expecting "sg-...")')
        if backend.get_security_group_from_id(group_id) is None:
            raise ApiError("InvalidGroup.NotFound", f"The security group '{group_id}' does not exist")
    for name in params.get("SecurityGroups", []):
        group = backend.get_security_group_by_name_or_id(name)
        if group is None:
            raise ApiError("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
        ids.append(group.id)
    return ids


def _count(params: Params) -> int:
    least, most = int(params.get("MinCount", 0)), int(params.get("MaxCount", 0))
    if least < 1 or most < least:
        raise ApiError("InvalidParameterValue", f"Value ({most}) for parameter maxCount is invalid.")
    return most


def _disks(image: Any, params: Params) -> dict[str, dict[str, Any]]:
    """Device name -> EBS settings: the image's own, changed and added to by the request."""
    disks = {m["DeviceName"]: dict(m["Ebs"]) for m in image.block_device_mappings}
    smallest = {name: int(ebs["VolumeSize"]) for name, ebs in disks.items()}
    for mapping in params.get("BlockDeviceMappings", []):
        name = mapping.get("DeviceName", "")
        if not re.fullmatch(r"/dev/(sd|xvd)[a-z]+\d*", name):
            raise ApiError("InvalidBlockDeviceMapping", f"Invalid device name {name}")
        if "NoDevice" in mapping or "Ebs" not in mapping:
            continue
        disks.setdefault(name, {"VolumeSize": 8}).update(mapping["Ebs"])
        checks.disk(name, disks[name], smallest.get(name, 1))
    return disks
