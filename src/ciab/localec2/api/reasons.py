"""Why an instance is in its state: EC2's StateReason and StateTransitionReason.

Source: the EC2 API reference, "StateReason"; the transition's text as describes show it.
"""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """`text` follows the code in the message."""

    code: str
    text: str
    transition: str = ""

    @property
    def message(self) -> str:
        return f"{self.code}: {self.text}"


ITSELF = Reason("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
SPOT = Reason("Server.SpotInstanceTermination", "Spot instance termination", "Server.SpotInstanceTermination")


def asked(*, hibernate: bool = False) -> Reason:
    """By a call of StopInstances or TerminateInstances. A hibernation that fails says nothing else."""
    if hibernate:
        return Reason("Client.UserInitiatedHibernate", "User initiated hibernate", _at("User initiated"))
    return Reason("Client.UserInitiatedShutdown", "User initiated shutdown", _at("User initiated"))


def internal(why: str) -> Reason:
    return Reason("Server.InternalError", why, "Server.InternalError")


def region_ended() -> Reason:
    code = "Server.ScheduledStop"
    return Reason(code, "Stopped because the local region's process ended", _at(code))


def _at(who: str) -> str:
    return f"{who} ({time.strftime('%Y-%m-%d %H:%M:%S GMT', time.gmtime())})"
