"""From EC2's Instance to our Machine."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ciab.core import tags
from ciab.core.ids import SandboxId
from ciab.core.machine import Cause, Machine, MachineState

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

VISIBLE = timedelta(minutes=5)
"""Until so long after its launch EC2 may not show an instance yet."""

_CAUSES = {
    "Client.UserInitiatedShutdown": Cause.ASKED,
    "Client.UserInitiatedHibernate": Cause.ASKED,
    "Client.InstanceInitiatedShutdown": Cause.ITSELF,
    "Server.SpotInstanceTermination": Cause.SPOT,
    "Server.SpotInstanceShutdown": Cause.SPOT,
    # the launch itself went wrong: a limit on volumes, a key or a snapshot that cannot be used
    "Client.VolumeLimitExceeded": Cause.PROVIDER,
    "Client.InternalError": Cause.PROVIDER,
    "Client.InvalidSnapshot.NotFound": Cause.PROVIDER,
}
"""By StateReason's code: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html"""

_AT_WORK = frozenset({"pending", "running"})


def machines_in(answer: Mapping[str, Any], region: str) -> Iterator[Machine]:
    """Those of a DescribeInstances answer that are ours: managed, and with a sandbox's id.

    One that was released has lost the first of the two, and is its user's.
    """
    for reservation in answer.get("Reservations", ()):
        for instance in reservation.get("Instances", ()):
            worn = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
            sandbox_id = worn.get(tags.SANDBOX_ID)
            if sandbox_id and worn.get(tags.MANAGED) == tags.TRUE:
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
        cause=_cause(instance),
        spot=instance.get("InstanceLifecycle") == "spot",
        hibernates=bool(instance.get("HibernationOptions", {}).get("Configured")),
    )


def _reason(instance: Mapping[str, Any]) -> str | None:
    told = instance.get("StateReason", {}).get("Message") or instance.get("StateTransitionReason")
    return str(told) if told else None


def _cause(instance: Mapping[str, Any]) -> Cause | None:
    if instance["State"]["Name"] in _AT_WORK:
        return None  # a reason that is left over from its last stop
    code = str(instance.get("StateReason", {}).get("Code") or "")
    return _CAUSES.get(code) or (Cause.PROVIDER if code.startswith("Server.") else None)
