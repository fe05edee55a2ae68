"""What a sweep over the provider's machines, volumes and network interfaces found, and what it did."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from ciab.core.machine import RemainKind
from ciab.schema.values import STRICT

Action = Literal["ended", "would_end", "spared", "reported", "failed"]


class GcRequest(BaseModel):
    """`owner` is the id of an installation whose database is lost; None: this one."""

    model_config = STRICT

    dry_run: bool = False
    owner: UUID | None = None


class Verdict(BaseModel):
    """One thing that carries CIAB's tags, and what became of it."""

    action: Action
    """`reported` are left alone although nobody claims them; `failed` could not be ended."""
    reason: str
    kind: RemainKind
    id: str
    region: str
    sandbox_id: str
    build_id: str | None = None
    """The image build that it belongs to, if it is one's."""
    state: str
    """In the provider's words."""
    born_at: datetime | None = None
    """Null where the provider does not say."""
