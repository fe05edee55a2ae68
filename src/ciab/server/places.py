"""The place check: a server may not start where it cannot reach what live sandboxes were launched in."""

from collections.abc import Iterable, Sequence

from ciab.core.errors import ConfigError
from ciab.core.machine import Place
from ciab.core.sandbox import Sandbox

NAMED = 5


def check_places(live: Iterable[Sandbox], home: Place) -> None:
    """Raises ConfigError naming sandboxes of another backend, account or endpoint than `home`'s."""
    elsewhere = [sandbox for sandbox in live if sandbox.site and not _reached(sandbox.site.place, home)]
    if not elsewhere:
        return
    places = sorted({_words(sandbox.site.place) for sandbox in elsewhere if sandbox.site})
    raise ConfigError(
        f"{_names(elsewhere)} live in {' and in '.join(places)}, but this start would use {_words(home)}; "
        "nothing was changed",
        hint="start with the configuration of before and delete them first, or use another [database] url",
    )


def _reached(place: Place, home: Place) -> bool:
    return (place.backend, place.account, place.endpoint) == (home.backend, home.account, home.endpoint)


def _words(place: Place) -> str:
    if place.backend == "local":
        return f"the local region {place.endpoint.removeprefix('local:')}"
    endpoint = f" at {place.endpoint}" if place.endpoint else ""
    return f"backend {place.backend}, account {place.account}{endpoint}"


def _names(sandboxes: Sequence[Sandbox]) -> str:
    named = ", ".join(f"{sandbox.name} ({sandbox.id})" for sandbox in sandboxes[:NAMED])
    more = f" and {len(sandboxes) - NAMED} more" if len(sandboxes) > NAMED else ""
    return f"{len(sandboxes)} sandboxes: {named}{more}" if len(sandboxes) > 1 else f"sandbox {named}"
