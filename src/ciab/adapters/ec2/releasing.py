"""Leaving a machine to its user: marked as released, and then no longer as ours.

Every call may be repeated, so a release that was cut off anywhere is finished by another one.
"""

import logging
from datetime import datetime

from botocore.exceptions import ClientError

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import NOT_FOUND, code_of, translated
from ciab.adapters.ec2.pages import Filters, pages
from ciab.core import tags
from ciab.core.ids import OwnerId
from ciab.core.machine import Machine

log = logging.getLogger(__name__)


async def release(clients: Clients, machine: Machine, owner: OwnerId, now: datetime) -> None:
    """See `Machines.release`. A machine that is gone has nothing left to be released."""
    region = machine.region
    with translated(f"release {machine.id} in {region}"):
        try:
            # An ephemeral one ends itself when it has not heard of us for long, and we will not call any
            # more: from now on that only stops it. Its disk is its user's.
            await clients.ec2(
                region,
                "ModifyInstanceAttribute",
                InstanceId=machine.id,
                InstanceInitiatedShutdownBehavior={"Value": "stop"},
            )
            ids = [machine.id, *await _parts(clients, machine, owner)]
            told = [{"Key": tags.RELEASED, "Value": now.isoformat(timespec="seconds")}]
            await clients.ec2(region, "CreateTags", Resources=ids, Tags=told)
            await clients.ec2(region, "DeleteTags", Resources=ids, Tags=[{"Key": tags.MANAGED}])
        except ClientError as error:
            if code_of(error) not in NOT_FOUND:
                raise
    log.info("machine released", extra={"action": "machine_released", "machine": machine.id})


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
