"""What happened to a sandbox, saved in one transaction with the state it led to, and never evicted."""

from dataclasses import dataclass
from enum import StrEnum


class StepStatus(StrEnum):
    """How far a step has come. A step that is not UNDONE may have acquired something."""

    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class StepMoved:
    """A step of the pipeline began, ended, failed or was undone."""

    step: str
    status: StepStatus
    message: str | None = None
    elapsed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """Anything else worth keeping: an alarm, a clean-up and its reason. `action` is a machine word."""

    action: str
    message: str
    shown: bool = False
    """Also an event, `sandbox_warning`, for those who follow the sandbox."""


Entry = StepMoved | Noted
"""State changes are entries too; the store adds them itself, so that none can be forgotten."""
