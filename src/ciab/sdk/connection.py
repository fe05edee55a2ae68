"""One HTTP connection pool to one server: addresses, keys, time limits, errors."""

import ipaddress
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from ciab.core.errors import InvalidRequest
from ciab.sdk.errors import raised_for, translated

CONNECT_SECS = 10.0
READ_SECS = 60.0
"""How long an ordinary answer may take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A success."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    """Names in any case."""


class Connection:
    """Opened with `async with`. Every failure is raised as an error of ours."""

    def __init__(
        self, base_url: str, api_key: str | None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.headers = _headers(api_key)
        self.loopback = is_loopback(self.base_url)
        with translated(self.base_url):
            self._http = httpx.AsyncClient(
                base_url=self.base_url,
                headers=self.headers,
                timeout=httpx.Timeout(READ_SECS, connect=CONNECT_SECS),
                # A proxy of the environment is for the world outside: it cannot reach our loopback.
                trust_env=not self.loopback,
                transport=transport,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | AsyncIterable[bytes] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        read_secs: float | None = READ_SECS,
        also: frozenset[int] = frozenset(),
    ) -> Answer:
        """The whole answer; `also` names failing statuses that are answers too."""
        async with self.stream(
            method,
            path,
            json=json,
            content=content,
            params=params,
            headers=headers,
            read_secs=read_secs,
            also=also,
        ) as response:
            return Answer(response.status_code, await response.aread(), response.headers)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        read_secs: float | None = READ_SECS,
        also: frozenset[int] = frozenset(),
        **parts: Any,
    ) -> AsyncGenerator[httpx.Response, None]:
        """The answer while it arrives; `read_secs` limits each silence in it."""
        timeout = httpx.Timeout(CONNECT_SECS, read=read_secs, write=READ_SECS)
        with translated(self.base_url):
            async with self._http.stream(method, path, timeout=timeout, **parts) as response:
                if not response.is_success and response.status_code not in also:
                    raise raised_for(response.status_code, await response.aread(), self.base_url)
                yield response


def _headers(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise InvalidRequest("the API key has characters that no key has", hint="was it copied as it is?")
    return {"Authorization": f"Bearer {api_key}"}


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine. Raises InvalidRequest when it is none."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # a port that is no number shows only here
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidRequest(f"{url} is not a server's address", hint="give it as http://HOST:PORT")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
