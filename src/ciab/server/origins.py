"""By which names this server may be reached: the guard against pages that reach for it from a browser.

DNS rebinding gives a foreign page our address under its own name, so the Host counts; an Origin is sent
by browsers for scripts, forms and WebSockets.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from ciab.core.errors import Forbidden


class Origins:
    """Loopback, the listed hosts, and the origins that may use the API across origins."""

    def __init__(self, public_hosts: Collection[str], cors_origins: Collection[str]) -> None:
        self._hosts = frozenset(host.lower().rstrip(".") for host in public_hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in cors_origins)

    def check(self, headers: Headers) -> None:
        """Raises Forbidden for a Host or an Origin that is neither loopback nor listed."""
        hosts = headers.getlist("host")
        host = ", ".join(hosts)
        if len(hosts) != 1 or not self._known(f"//{host}"):
            raise Forbidden(
                f"this server may not be reached under the name {host[:100]!r}",
                hint="add it to [server] public_hosts if it should be",
            )
        for origin in headers.getlist("origin"):
            if not (self._known(origin) or origin.lower() in self._origins):
                raise Forbidden(
                    f"pages of the origin {origin[:100]!r} may not use this server",
                    hint="add its host to [server] public_hosts or the origin to cors_origins if they should",
                )

    def _known(self, url: str) -> bool:
        try:
            host = (urlsplit(url).hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        return bool(host) and (host in self._hosts or _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
