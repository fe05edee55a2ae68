"""What the operator decided about lives, idleness, money and sweeps. Durations are seconds, money dollars."""

from dataclasses import dataclass
from typing import Literal

from ciab.core.errors import InvalidRequest
from ciab.core.spec import Spec

IdleAction = Literal["pause", "stop", "terminate"]


@dataclass(frozen=True, slots=True)
class Budgets:
    """The most that may be spent; 0: no limit. A day is one of UTC's."""

    per_sandbox: float = 0.0
    per_workspace: float = 0.0
    per_day: float = 0.0

    @property
    def any(self) -> bool:
        """Whether there is any limit."""
        return bool(self.per_sandbox or self.per_workspace or self.per_day)


@dataclass(frozen=True, slots=True)
class Policy:
    """The configuration's word on everything that happens to a sandbox without its user."""

    stop_on_pause: bool = True
    hibernate_on_pause: bool = False
    auto_resume: bool = False
    terminate_on_delete: bool = True
    max_lifetime: float = 0.0
    idle_timeout: float = 0.0
    idle_action: IdleAction = "pause"
    orphan_timeout: float = 0.0
    """After so long without a word from us an ephemeral machine that begins now ends itself; 0: never."""
    budgets: Budgets = Budgets()
    watch_interval: float = 15.0
    sweep_interval: float = 300.0
    grace: float = 600.0
    """Nothing younger is swept; and a machine that has been invisible for so long is believed gone."""
    max_per_sweep: int = 20

    def lifetime(self, spec: Spec) -> float:
        """How long a sandbox of this spec may live; 0: for ever. Raises InvalidRequest for more than the
        longest life."""
        asked, longest = spec.timeout_secs or 0.0, self.max_lifetime
        if longest and asked > longest:
            raise InvalidRequest(
                f"timeout_secs is {asked:g}, but here a sandbox lives {longest:g} s at most",
                hint="ask for less, or have max_lifetime_secs of [runtime.ec2] raised",
            )
        return asked or longest

    def idle_after(self, spec: Spec) -> float:
        """After how many seconds without use the idle action is done; 0: never."""
        return self.idle_timeout if spec.idle_timeout_secs is None else spec.idle_timeout_secs
