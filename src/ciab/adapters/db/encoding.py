"""Values as text: times, and whatever JSON has to hold."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from ciab.core.secret import Secret


def to_text(moment: datetime) -> str:
    """A time as it stands in the database."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def to_json(value: object) -> str:
    """As one text. It reveals secrets, as `plain` does."""
    return json.dumps(plain(value))


def plain(value: object) -> Any:
    """What JSON knows. It reveals secrets: its callers seal what it gives, or have none in it."""
    if isinstance(value, Secret):
        return value.reveal()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return to_text(value) if isinstance(value, datetime) else value
