"""What all AWS regions of one region process have in common, and the moves of a machine."""

from dataclasses import dataclass
from enum import Enum

from ciab.localec2.api.addresses import Addresses
from ciab.localec2.api.faults import Faults
from ciab.localec2.host import MachineHost


class Move(Enum):
    """What a machine is to do, after the answer has been given."""

    BOOT = "boot"
    HALT = "halt"
    HIBERNATE = "hibernate"
    REBOOT = "reboot"
    END = "end"


@dataclass(slots=True)
class Shared:
    """`faults` is replaced as a whole."""

    faults: Faults
    addresses: Addresses
    host: MachineHost
