"""From EC2's Instance to our Machine."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ciab.core import tags
from ciab.core.ids import SandboxId
from ciab.core.machine import Machine, MachineState

_STATES = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "stopping": MachineState.STOPPING,
    "stopped": MachineState.STOPPED,
    "shutting-down": MachineState.ENDING,
    "terminated": MachineState.ENDED,
}
FREE = frozenset({MachineState.ENDING, MachineState.ENDED})
"""No longer billed, and never coming back."""


def machines_in(answer: Mapping[str, Any], region: str) -> Iterator[Machine]:
    """Those of a DescribeInstances answer that carry a sandbox's id."""
    for reservation in answer.get("Reservations", ()):
        for instance in reservation.get("Instances", ()):
            worn = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
            if sandbox_id := worn.get(tags.SANDBOX_ID):
                yield machine_of(instance, SandboxId(sandbox_id), region)


def machine_of(instance: Mapping[str, Any], sandbox_id: SandboxId, region: str) -> Machine:
    """One Instance structure, as RunInstances and DescribeInstances answer it."""
    launched: datetime = instance["LaunchTime"]
    return Machine(
        id=str(instance["InstanceId"]),
        sandbox_id=sandbox_id,
        state=_STATES[instance["State"]["Name"]],
        type=str(instance.get("InstanceType", "")),
        region=region,
        zone=str(instance.get("Placement", {}).get("AvailabilityZone", "")),
        image=str(instance.get("ImageId", "")),
        public_ip=instance.get("PublicIpAddress") or None,
        private_ip=instance.get("PrivateIpAddress") or None,
        launched_at=launched.astimezone(UTC),
        reason=_reason(instance),
    )


def _reason(instance: Mapping[str, Any]) -> str | None:
    told = instance.get("StateReason", {}).get("Message") or instance.get("StateTransitionReason")
    return str(told) if told else None
