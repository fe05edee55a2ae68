"""Whole lists, read page by page."""

from collections.abc import Collection

from ciab.core.ports import Query, Store
from ciab.core.sandbox import Sandbox
from ciab.core.states import State

PAGE = 500


async def every(store: Store, states: Collection[State]) -> list[Sandbox]:
    """Every sandbox in one of these states."""
    found: list[Sandbox] = []
    while True:
        cursor = found[-1].id if found else None
        page = await store.page(Query(states=frozenset(states), limit=PAGE, cursor=cursor))
        found += page
        if len(page) < PAGE:
            return found
