"""RunInstances and DescribeInstances."""

import copy
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from moto.ec2.models.instances import Instance, Reservation
from moto.ec2.utils import (
    filter_dict_attribute_mapping,
    filter_reservations,
    generate_dns_from_ip,
    is_tag_filter,
)

from ciab.localec2.api import checks, launch
from ciab.localec2.api.backend import RegionBackend
from ciab.localec2.api.checks import Params
from ciab.localec2.api.desk import Desk
from ciab.localec2.api.shared import Move
from ciab.localec2.api.state import Life
from ciab.localec2.api.wire import ApiError


@dataclass(frozen=True, slots=True)
class Page:
    """Part of the answer to DescribeInstances; `token` is where the next one begins."""

    reservations: list[Reservation]
    token: str | None


def run_instances(desk: Desk, params: Params) -> object:
    """One launch per client token: per zone where the request names a zone or subnet, else per region."""
    backend = desk.state.backend
    token = params.get("ClientToken", "")
    if len(token) > 64 or not token.isascii():
        raise ApiError(
            "InvalidParameterValue", "Value for parameter clientToken is invalid: 64 ASCII at most."
        )
    key, digest = (_named_zone(backend, params), token), _digest(params)
    if token and key in desk.state.tokens:
        before, reservation = desk.state.tokens[key]
        if before != digest:
            raise ApiError(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous "
                "request(s).",
            )
        return reservation
    plan = launch.plan(backend, params, desk.faults)
    desk.within_quota(plan.instance_type, plan.count)
    every_zone = [zone.name for zone in backend.describe_availability_zones()]
    zones = [plan.zone] if plan.zone else every_zone
    zone = desk.with_capacity(plan.instance_type, zones, spot=plan.spot)
    checks.dry_run(params)
    if desk.shared.addresses.left < 2 * plan.count:
        raise ApiError("InsufficientFreeAddressesInSubnet", "This local region has no addresses left.")
    reservation = launch.launch(backend, plan, zone, params)
    for instance in reservation.instances:
        _begin_life(desk, instance, plan.public)
    if token:
        desk.state.tokens[key] = (digest, reservation)
    return reservation


def describe_instances(desk: Desk, params: Params) -> Page:
    """Terminated instances are in it for a while; instances that are not visible yet are not."""
    ids = params.get("InstanceIds", [])
    size = params.get("MaxResults")
    if ids and size is not None:
        raise ApiError(
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults",
        )
    if size is not None and not 5 <= int(size) <= 1000:
        raise ApiError("InvalidParameterValue", f"Value ({size}) for parameter maxResults is invalid.")
    checks.dry_run(params)
    lives = desk.named(ids) if ids else desk.visible()
    found = _filtered(desk, {life.id for life in lives}, params.get("Filters", []))
    start = _page_start(params.get("NextToken"), len(found))
    page = found[start : start + int(size)] if size else found[start:]
    more = start + len(page) < len(found)
    return Page(page, f"page-{start + len(page)}" if more else None)


def _filtered(desk: Desk, ids: set[str], filters: list[dict[str, Any]]) -> list[Reservation]:
    found = []
    for reservation in desk.state.backend.reservations.values():
        instances = [instance for instance in reservation.instances if instance.id in ids]
        if instances:
            part = copy.copy(reservation)
            part.instances = instances
            found.append(part)
    wanted = {f.get("Name", ""): f.get("Values", []) for f in filters}
    for name in wanted:
        if name not in filter_dict_attribute_mapping and not is_tag_filter(name):
            raise ApiError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return filter_reservations(found, wanted)


def _page_start(token: str | None, count: int) -> int:
    if token is None:
        return 0
    number = token.removeprefix("page-")
    if not number.isdigit() or int(number) > count:
        raise ApiError("InvalidParameterValue", f"Unable to parse pagination token: {token}")
    return int(number)


def _begin_life(desk: Desk, instance: Instance, public: bool | None) -> None:
    subnet, interface = instance.nics[0].subnet, instance.nics[0]
    life = Life(
        instance=instance,
        zone=instance.placement.zone or "",
        public=subnet.map_public_ip_on_launch is True if public is None else public,
        private_ip=desk.shared.addresses.take(),
        visible_at=time.time() + desk.faults.visible_after,
    )
    subnet.del_subnet_ip(interface.private_ip_address)  # moto's own, which nothing would ever listen on
    interface.private_ip_address = life.private_ip
    interface.private_dns_name = generate_dns_from_ip(life.private_ip)
    interface.private_ip_addresses = [
        {"Primary": True, "PrivateIpAddress": life.private_ip, "PrivateDnsName": interface.private_dns_name}
    ]
    life.show("pending")
    desk.state.lives[life.id] = life
    desk.moves.append((Move.BOOT, life))


def _named_zone(backend: RegionBackend, params: Params) -> str:
    nics = params.get("NetworkInterfaces") or [{}]
    subnet = backend.find_subnet(nics[0].get("SubnetId") or params.get("SubnetId", ""))
    named = params.get("Placement", {}).get("AvailabilityZone", "")
    return str(subnet.availability_zone if subnet else named)


def _digest(params: Params) -> str:
    """One way: the parameters hold keys, and tokens are kept longer than those may be."""
    compared = {k: v for k, v in params.items() if k not in {"ClientToken", "DryRun"}}
    return hashlib.sha256(json.dumps(compared, sort_keys=True, default=str).encode()).hexdigest()
