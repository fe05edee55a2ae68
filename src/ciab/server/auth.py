"""API keys: any of the configured ones lets in, by `Authorization: Bearer` or `X-API-Key`."""

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers

from ciab.core.errors import Unauthorized
from ciab.core.secret import Secret

OPEN = frozenset({"/health", "/ready", "/openapi.json"})
"""Paths that need no key."""


class Keyring:
    """The keys. Without any, everybody may: then the server listens on loopback only."""

    def __init__(self, keys: Collection[Secret]) -> None:
        self._keys = [key.reveal().encode() for key in keys]

    def check(self, path: str, headers: Headers) -> None:
        """Raises Unauthorized. Takes the same time whichever key is compared, and wherever it differs."""
        if not self._keys or path in OPEN:
            return
        given = _given(headers)
        if given is None:
            raise Unauthorized(
                "this server wants an API key",
                hint="send 'Authorization: Bearer KEY', or set CIAB_API_KEY for the command line",
            )
        known = [hmac.compare_digest(given, key) for key in self._keys]
        if not any(known):
            raise Unauthorized(
                "this API key is not one of the server's", hint="check it, or ask its operator"
            )


def _given(headers: Headers) -> bytes | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return key.encode("latin-1") if key else None
