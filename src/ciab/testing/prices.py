"""Prices that a test chooses."""

from collections.abc import Mapping

from ciab.core.machine import Machine
from ciab.core.spec import Spec


class FakePrices:
    """Dollars an hour: `by_type` or else `usual` of what runs; `disk` of what is stopped."""

    def __init__(
        self,
        usual: float | None = 0.05,
        *,
        disk: float | None = 0.004,
        by_type: Mapping[str, float] | None = None,
    ) -> None:
        self.usual = usual
        self.disk = disk
        self.by_type = dict(by_type or {})

    def running(self, machine: Machine) -> float | None:
        """As the port has it."""
        return self.by_type.get(machine.type, self.usual)

    def stopped(self, machine: Machine) -> float | None:
        """As the port has it."""
        return self.disk

    def asked(self, spec: Spec) -> float | None:
        """As the port has it."""
        return self.by_type.get(spec.ec2.instance_type or "", self.usual)
