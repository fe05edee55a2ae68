"""What belongs to instances and can be left behind: volumes, network interfaces, and everybody's tags.

moto does the work. Here is what EC2 refuses and moto does not.
"""

import re
from collections.abc import Mapping
from typing import Any

from ciab.localec2.api import checks
from ciab.localec2.api.backend import RegionBackend
from ciab.localec2.api.checks import Params
from ciab.localec2.api.desk import Desk
from ciab.localec2.api.wire import ApiError


def create_tags(desk: Desk, params: Params) -> object:
    tags = checks.tags(params.get("Tags", []))
    resources = _resources(desk, params)
    for ident in resources:
        before = desk.state.backend.tags.get(ident, {})
        checks.not_too_many_tags(len(before.keys() | tags.keys()))
    checks.dry_run(params)
    return NotImplemented if tags else None


def delete_tags(desk: Desk, params: Params) -> object:
    """Named with a value, a tag goes only if it has that value; without any tag named, all go."""
    resources = _resources(desk, params)
    checks.dry_run(params)
    backend = desk.state.backend
    named: dict[str, Any] = {tag.get("Key", ""): tag.get("Value") for tag in params.get("Tags", [])}
    for ident in resources:
        every: dict[str, Any] = dict.fromkeys(backend.tags[ident])
        backend.delete_tags([ident], named or every)
    return None


def create_volume(desk: Desk, params: Params) -> object:
    zone = params.get("AvailabilityZone", "")
    if desk.state.backend.get_zone_by_name(zone) is None:
        raise ApiError("InvalidZone.NotFound", f"The zone '{zone}' does not exist.")
    if "SnapshotId" not in params and "Size" not in params:
        raise ApiError("MissingParameter", "The request must contain the parameter size/snapshot")
    checks.tags_at_launch(params)
    checks.disk("the volume", {"VolumeSize": params.get("Size", 1), **params}, 1)
    return NotImplemented


def describe_volumes(desk: Desk, params: Params) -> object:
    for ident in params.get("VolumeIds", []):
        _volume(desk.state.backend, ident)
    return NotImplemented


def delete_volume(desk: Desk, params: Params) -> object:
    """VolumeInUse while it is attached."""
    backend = desk.state.backend
    volume = _volume(backend, params.get("VolumeId", ""))
    if volume.attachment is not None:
        raise ApiError(
            "VolumeInUse",
            f"Volume {volume.id} is currently attached to {volume.attachment.instance.id}",
        )
    checks.dry_run(params)
    backend.delete_volume(volume.id)
    backend.tags.pop(volume.id, None)
    return None


def create_network_interface(desk: Desk, params: Params) -> object:
    subnet = params.get("SubnetId", "")
    if desk.state.backend.find_subnet(subnet) is None:
        raise ApiError("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
    checks.tags_at_launch(params)
    return NotImplemented


def describe_network_interfaces(desk: Desk, params: Params) -> object:
    for ident in params.get("NetworkInterfaceIds", []):
        _interface(desk.state.backend, ident)
    return NotImplemented


def delete_network_interface(desk: Desk, params: Params) -> object:
    """InvalidParameterValue while it is attached."""
    backend = desk.state.backend
    interface = _interface(backend, params.get("NetworkInterfaceId", ""))
    if interface.attachment_id is not None:
        raise ApiError("InvalidParameterValue", f"Network interface '{interface.id}' is currently in use.")
    checks.dry_run(params)
    interface.delete()
    backend.tags.pop(interface.id, None)
    return None


def _resources(desk: Desk, params: Params) -> list[str]:
    """Their ids, all of which exist and are visible."""
    resources: list[str] = params.get("Resources", [])
    if not resources:
        raise ApiError("MissingParameter", "The request must contain the parameter resourceIdSet")
    if instances := [ident for ident in resources if ident.startswith("i-")]:
        desk.named(instances)
    for ident in resources:
        if ident.startswith("vol-"):
            _volume(desk.state.backend, ident)
        elif ident.startswith("eni-"):
            _interface(desk.state.backend, ident)
    return resources


def _volume(backend: RegionBackend, ident: str) -> Any:
    if not re.fullmatch(r"vol-[0-9a-f]{8,17}", ident):
        raise ApiError(
            "InvalidParameterValue",
            f"Value ({ident}) for parameter volumeId is invalid. Expected: 'vol-...'.",
        )
    return _existing(backend.volumes, ident, "InvalidVolume.NotFound", "volume")


def _interface(backend: RegionBackend, ident: str) -> Any:
    if not re.fullmatch(r"eni-[0-9a-f]{8,17}", ident):
        raise ApiError("InvalidNetworkInterfaceId.Malformed", f'Invalid id: "{ident}" (expecting "eni-...")')
    return _existing(backend.enis, ident, "InvalidNetworkInterfaceID.NotFound", "networkInterface ID")


def _existing(known: Mapping[str, Any], ident: str, code: str, word: str) -> Any:
    if ident not in known:
        raise ApiError(code, f"The {word} '{ident}' does not exist.")
    return known[ident]
