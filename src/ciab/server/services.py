"""What the routes work with, made once by `app.py`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from ciab.control.access import Access
from ciab.control.costs import Costs
from ciab.control.reach import Reach
from ciab.control.reaper import Reaper
from ciab.control.sandboxes import Sandboxes
from ciab.core.ports import Events, Store


@dataclass(slots=True)
class Closing:
    """Whether the orderly end has begun."""

    begun: bool = False


@dataclass(frozen=True, slots=True)
class Services:
    """Use cases and ports. `troubles` says why the server cannot work, in words; nothing when it can."""

    store: Store
    events: Events
    sandboxes: Sandboxes
    reach: Reach
    access: Access
    costs: Costs
    reaper: Reaper
    wall_of: Callable[[datetime], datetime]
    """When a moment on the clock that never jumps is, was or will be, as people's clocks are set now."""
    troubles: Callable[[], Awaitable[Sequence[str]]]
    digest: Callable[[bytes], str]
    """A keyed digest: what it was made of cannot be guessed from it, although it may hold secrets."""
    backend: str
    keepalive_secs: float
    warnings: Sequence[str] = ()
    """What users should know although all works."""
    closing: Closing = field(default_factory=Closing)


def services_of(connection: HTTPConnection) -> Services:
    """The services of the app that serves this connection."""
    return cast(Services, connection.app.state.services)


async def _services(connection: HTTPConnection) -> Services:
    return services_of(connection)


Serving = Annotated[Services, Depends(_services)]
"""The parameter of a route that needs them."""
