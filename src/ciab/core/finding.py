"""What one check of an installation found: a line for a person, a record for a program."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`skipped`: it could not be looked at, and `message` says why."""

    check: str
    status: Status
    tried: str
    """What was looked at or asked."""
    message: str
    """What was found."""
    hint: str | None = None
    """What to do about it."""
