"""Leaving a machine to its user: marked as released, and then no longer as ours.

Every call may be repeated, so a release that was cut off anywhere is finished by another one.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import translated
from ciab.adapters.ec2.instances import VISIBLE
from ciab.adapters.ec2.pages import Filters, pages
from ciab.core import tags
from ciab.core.errors import RuntimeUnavailable
from ciab.core.ids import OwnerId
from ciab.core.machine import Machine

log = logging.getLogger(__name__)


async def release(clients: Clients, machine: Machine, owner: OwnerId, now: datetime) -> None:
    """See `Machines.release`. A machine that has ended has nothing left to be released."""
    region = machine.region
    with translated(f"release {machine.id} in {region}"):
        instance = await _instance(clients, region, machine.id)
        if instance is None:
            if now - machine.launched_at < VISIBLE:
                raise RuntimeUnavailable(f"could not release {machine.id}: {region} does not show it yet")
            return
        if instance["State"]["Name"] in {"shutting-down", "terminated"}:
            return
        parts = await _parts(clients, machine, owner)
        if _managed(instance):
            _ensure_stopped(instance, machine)
            # An ephemeral one ends itself when it has not heard of us for long, and we will not call any
            # more: from now on that only stops it. Its disk is its user's.
            await clients.ec2(
                region,
                "ModifyInstanceAttribute",
                InstanceId=machine.id,
                InstanceInitiatedShutdownBehavior={"Value": "stop"},
            )
            parts = [machine.id, *parts]
        if parts:
            told = [{"Key": tags.RELEASED, "Value": now.isoformat(timespec="seconds")}]
            await clients.ec2(region, "CreateTags", Resources=parts, Tags=told)
            await clients.ec2(region, "DeleteTags", Resources=parts, Tags=[{"Key": tags.MANAGED}])
    log.info("machine released", extra={"action": "machine_released", "machine": machine.id})


async def is_taken_over(clients: Clients, region: str, machine_id: str) -> bool:
    """Whether it is there and no longer ours: released, or somebody took its tag away. It had that from its
    launch on."""
    with translated(f"look at {machine_id} in {region}"):
        instance = await _instance(clients, region, machine_id)
    return instance is not None and not _managed(instance)


async def _instance(clients: Clients, region: str, machine_id: str) -> Mapping[str, Any] | None:
    asked: Filters = {"instance-id": [machine_id]}
    found = [
        instance
        async for answer in pages(clients, region, "DescribeInstances", asked)
        for reservation in answer["Reservations"]
        for instance in reservation["Instances"]
    ]
    return found[0] if found else None


def _managed(instance: Mapping[str, Any]) -> bool:
    return {"Key": tags.MANAGED, "Value": tags.TRUE} in instance.get("Tags", ())


def _ensure_stopped(instance: Mapping[str, Any], machine: Machine) -> None:
    state = instance["State"]["Name"]
    if state != "stopped":
        raise RuntimeUnavailable(
            f"could not release {machine.id}: it is {state}", hint="only a stopped machine is let go"
        )


async def _parts(clients: Clients, machine: Machine, owner: OwnerId) -> list[str]:
    """Its volumes and interfaces that a sweep would find: only they carry tags of ours to take off."""
    worn: Filters = {
        f"tag:{tags.SANDBOX_ID}": [str(machine.sandbox_id)],
        f"tag:{tags.OWNER}": [str(owner)],
        f"tag:{tags.MANAGED}": [tags.TRUE],
    }
    volumes = [
        str(one["VolumeId"])
        async for answer in pages(clients, machine.region, "DescribeVolumes", worn)
        for one in answer["Volumes"]
    ]
    interfaces = [
        str(one["NetworkInterfaceId"])
        async for answer in pages(clients, machine.region, "DescribeNetworkInterfaces", worn)
        for one in answer["NetworkInterfaces"]
    ]
    return volumes + interfaces
