"""Running what must not take the rest along: one round of a watch, one sandbox of many."""

import logging
from collections.abc import Awaitable

from ciab.core.errors import CiabError

log = logging.getLogger(__name__)


async def guarded(what: str, action: Awaitable[object]) -> None:
    """Wait for the action. Whatever goes wrong with it is logged under `what`, a machine word; the next time
    may do better."""
    try:
        await action
    except CiabError as trouble:
        log.warning("did not work this time", extra={"action": f"{what}_failed", "why": trouble.message})
    except Exception:
        log.exception("broke", extra={"action": f"{what}_broke"})
