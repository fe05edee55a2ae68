"""Which sandboxes: what a reference may mean, and what a page asks for, as SQL."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, select

from ciab.adapters.db.tables import labels, sandboxes
from ciab.core.ports import Query
from ciab.core.states import ENDED, LIVE

_SHORTEST_PREFIX = 4
_AFTER_ANY_ID = "~"
"""Sorts after every character that an id may have."""


def meanings(reference: str) -> Iterator[Select[Any]]:
    """Made one by one: an id, as programs give it with every request, costs no more than its own query."""
    yield select(sandboxes).where(sandboxes.c.id == reference)
    newest = select(sandboxes).order_by(sandboxes.c.created_at.desc(), sandboxes.c.id.desc())
    named = newest.where(sandboxes.c.name == reference).limit(1)
    yield named.where(sandboxes.c.state.in_(LIVE))
    yield named.where(sandboxes.c.state.in_(ENDED))
    if len(reference) >= _SHORTEST_PREFIX:
        # a range, not LIKE: it takes % and _ as they are and uses the primary key
        yield newest.where(sandboxes.c.id.between(reference, reference + _AFTER_ANY_ID)).limit(2)


def filtered(query: Query) -> Select[Any]:
    """The newest that match, without regard to the cursor."""
    wanted = select(sandboxes).order_by(sandboxes.c.created_at.desc(), sandboxes.c.id.desc())
    if query.states is not None:
        wanted = wanted.where(sandboxes.c.state.in_(query.states))
    if query.provider is not None:
        wanted = wanted.where(sandboxes.c.provider == query.provider)
    for key, value in query.labels.items():
        having = select(labels.c.sandbox_id).where(labels.c.key == key, labels.c.value == value)
        wanted = wanted.where(sandboxes.c.id.in_(having))
    return wanted.limit(query.limit)
