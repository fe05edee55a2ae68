"""A look at a database from outside, whether or not a server has it open. It takes no lock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from ciab.adapters.db.engine import sync_engine
from ciab.adapters.db.errors import translated
from ciab.adapters.db.tables import sandboxes
from ciab.core.states import State


@dataclass(frozen=True, slots=True)
class Seen:
    """A sandbox as its row says."""

    id: str
    name: str
    state: State


def in_states(database: Path, states: Collection[State]) -> Sequence[Seen]:
    """The sandboxes in one of these states; nothing when there is no database. Blocks: use a thread."""
    if not database.exists():
        return []
    wanted = select(sandboxes.c.id, sandboxes.c.name, sandboxes.c.state).where(sandboxes.c.state.in_(states))
    engine = sync_engine(database)
    try:
        with translated("look at the sandboxes in the database"), engine.connect() as connection:
            rows = connection.execute(wanted.order_by(sandboxes.c.created_at)).all()
    finally:
        engine.dispose()
    return [Seen(row.id, row.name, State(row.state)) for row in rows]
