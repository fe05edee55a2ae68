"""Errors on the wire: one table of HTTP numbers by error class, and one body for everything."""

from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ciab.core import errors
from ciab.schema.errors import ErrorBody, ErrorInfo, explain
from ciab.schema.requests import FIELD_NAMES

STATUS: Mapping[type[errors.CiabError], int] = {
    errors.ConfigError: 400,
    errors.RequestError: 400,
    errors.InvalidRequest: 422,
    errors.TooLarge: 413,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.CommandFailed: 422,
    errors.RuntimeFault: 502,
    errors.CapacityUnavailable: 503,
    errors.RuntimeUnavailable: 503,
    errors.GuestFault: 502,
    errors.GuestUnreachable: 503,
    errors.TimedOut: 504,
    errors.CiabError: 500,
}
"""A class that is not here has the number of its nearest parent."""

_HEADERS: Mapping[int, dict[str, str]] = {401: {"WWW-Authenticate": "Bearer"}}
_UNNAMED: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed"}
"""Codes of what the router refuses before a route of ours sees it."""


def status_of(error: errors.CiabError) -> int:
    """The HTTP number of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def refusal(error: errors.CiabError) -> Response:
    """The answer that stands for an error."""
    status = status_of(error)
    return _answer(ErrorInfo.of(error), status, _HEADERS.get(status))


def internal_error(request_id: str) -> Response:
    """The answer to an error that nobody foresaw; the log has the rest under the request's id."""
    info = ErrorInfo(
        code="internal_error",
        message="the server met an error that it does not know",
        hint=f"its log has the details under request id {request_id}; please report it",
    )
    return _answer(info, 500)


def install(app: FastAPI) -> None:
    """Answer every refusal of the framework's and every error of ours with the error body."""
    app.add_exception_handler(errors.CiabError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.CiabError)  # noqa: S101 - the table above says so
    return refusal(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the table above says so
    message, hint = explain(error.errors(), FIELD_NAMES)
    if hint is None and "json" not in request.headers.get("content-type", "json"):
        hint = "send the body with 'Content-Type: application/json'"
    return _answer(ErrorInfo(code="invalid_request", message=message, hint=hint), 422)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the table above says so
    if error.status_code == 400 and error.__cause__ is not None:
        return refusal(_met_in_the_body(error.__cause__))
    status = error.status_code
    code = _UNNAMED.get(status, "invalid_request" if status < 500 else "internal_error")
    what = {404: "there is no such route", 405: "this route does not have the method"}
    info = ErrorInfo(
        code=code,
        message=f"{what.get(status, error.detail)}: {request.method} {request.url.path!r}"[:300],
        hint="GET /openapi.json lists the routes",
    )
    return _answer(info, status, dict(error.headers or {}))


def _met_in_the_body(cause: BaseException) -> errors.CiabError:
    """What stopped the framework from reading a body: an error of ours, or one of Python's."""
    if isinstance(cause, errors.CiabError):
        return cause
    reasons = {UnicodeDecodeError: "it is not UTF-8", RecursionError: "it is nested too deeply"}
    reason = reasons.get(type(cause), "it holds something that no parser takes")
    return errors.InvalidRequest(
        f"the body is not JSON: {reason}", hint="send JSON, in UTF-8, not compressed"
    )


def _answer(info: ErrorInfo, status: int, headers: dict[str, str] | None = None) -> Response:
    body = ErrorBody(error=info).model_dump_json()
    return Response(body, status, headers, media_type="application/json")
