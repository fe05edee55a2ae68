"""Errors that only a client can meet, and how foreign ones become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from pydantic import ValidationError

from ciab.core.errors import CiabError, InvalidRequest, TimedOut
from ciab.schema.errors import ErrorBody


class ServerUnreachable(CiabError):
    """No CIAB server answers at this address, or the connection to it broke."""

    code = "server_unreachable"
    retryable = True


class NotCiab(CiabError):
    """Something answers at this address, but not as a CIAB server does."""

    code = "not_ciab"


@contextmanager
def translated(base_url: str) -> Iterator[None]:
    """Raise what went wrong between us and the server as an error of ours."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise not_text() from error
    except httpx.ConnectError as error:
        raise ServerUnreachable(
            f"no CIAB server answers at {base_url}",
            hint="start one with 'ciab server start', or name another with --server-url",
        ) from error
    except httpx.TimeoutException as error:
        raise TimedOut(
            f"the CIAB server at {base_url} did not answer in time", hint="try again; is it overloaded?"
        ) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise InvalidRequest(
            f"{base_url} is not a server's address", hint="give it as http://HOST:PORT"
        ) from error
    except httpx.TransportError as error:
        raise ServerUnreachable(
            f"the connection to the CIAB server at {base_url} broke",
            hint="look at the server's log, then try again",
        ) from error


def not_text() -> InvalidRequest:
    """For what a request cannot carry: half of a surrogate pair, which Python has for other bytes."""
    return InvalidRequest(
        "the request has characters that are not UTF-8", hint="give names and arguments as UTF-8 text"
    )


def raised_for(status: int, body: bytes, base_url: str) -> CiabError:
    """The error that an answer stands for."""
    try:
        return ErrorBody.model_validate_json(body, extra="ignore").error.raised()
    except ValidationError:
        return NotCiab(
            f"{base_url} answered {status}, not as a CIAB server does",
            hint="is something else listening there, or a proxy in between?",
        )
