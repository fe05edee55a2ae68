"""What the actions on instances share: the region's state, faults and addresses, the moves they order.

Everything here runs in the region's one thread, so nothing in it needs a lock.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from ciab.localec2.api.backend import OFFERED
from ciab.localec2.api.faults import Faults
from ciab.localec2.api.shared import Move, Shared
from ciab.localec2.api.state import Life, RegionState
from ciab.localec2.api.wire import ApiError


@dataclass(slots=True)
class Desk:
    state: RegionState
    shared: Shared
    moves: list[tuple[Move, Life]] = field(default_factory=list)

    @property
    def faults(self) -> Faults:
        return self.shared.faults

    def visible(self) -> list[Life]:
        now = time.time()
        return [life for life in self.state.lives.values() if life.visible_at <= now]

    def named(self, ids: Iterable[str]) -> list[Life]:
        """Raises ApiError when one of them does not exist or is not visible yet: EC2 then does nothing."""
        visible = {life.id: life for life in self.visible()}
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            raise ApiError("MissingParameter", "The request must contain the parameter InstanceId")
        for ident in wanted:
            if not ident.startswith("i-"):
                raise ApiError("InvalidInstanceID.Malformed", f'Invalid id: "{ident}"')
        missing = [ident for ident in wanted if ident not in visible]
        if missing:
            words = "ID" if len(missing) == 1 else "IDs"
            verb = "does" if len(missing) == 1 else "do"
            raise ApiError(
                "InvalidInstanceID.NotFound", f"The instance {words} '{', '.join(missing)}' {verb} not exist"
            )
        return [visible[ident] for ident in wanted]

    def within_quota(self, instance_type: str, count: int) -> None:
        quota = self.faults.quota
        if quota is None:
            return
        active = [life for life in self.state.lives.values() if life.state in {"pending", "running"}]
        if quota.instances is not None and len(active) + count > quota.instances:
            raise ApiError(
                "InstanceLimitExceeded",
                f"You have requested more instances ({len(active) + count}) than your current instance limit "
                f"of {quota.instances} allows for the specified instance type.",
            )
        asked = sum(_vcpus(life.instance.instance_type) for life in active) + count * _vcpus(instance_type)
        if quota.vcpus is not None and asked > quota.vcpus:
            raise ApiError(
                "VcpuLimitExceeded",
                f"You have requested more vCPU capacity than your current vCPU limit of {quota.vcpus} allows "
                "for the instance bucket that the specified instance type belongs to.",
            )

    def with_capacity(self, instance_type: str, zones: list[str], *, spot: bool = False) -> str:
        """The first of the zones that has capacity for the type."""
        market = "spot" if spot else "on-demand"
        for zone in zones:
            if self.faults.shortage(instance_type, zone, market) is None:
                return zone
        short = self.faults.shortage(instance_type, zones[0], market)
        code = short.code if short else "InsufficientInstanceCapacity"
        raise ApiError(
            code,
            "There is no Spot capacity available that matches your request."
            if spot
            else f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you "
            f"requested ({', '.join(zones)}).",
            500 if code.startswith("InsufficientInstance") else 400,
        )


def _vcpus(instance_type: str) -> int:
    return int(OFFERED[instance_type]["VCpuInfo"]["DefaultVCpus"])
