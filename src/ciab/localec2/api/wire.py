"""The outer shape of calls and answers: which service, region and action a request means, and AWS's errors.

The region is the one in the SigV4 credential scope, as at AWS where each region's endpoint accepts only
its own. Signatures are not checked: the endpoint listens on loopback only.
"""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request")
# Parameters that hold secrets; the record of calls must not show them.
_SECRET = re.compile(r"UserData|PublicKeyMaterial")


class ApiError(Exception):
    """An error as AWS answers it. `status` is the HTTP status: 400 the caller's, 5xx AWS's own."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Call:
    """One API call. `form` has the parameters of the Query protocols, `body` the bytes as they came."""

    service: str
    region: str
    action: str
    form: Mapping[str, str]
    body: bytes
    headers: Mapping[str, str]

    def shown(self) -> dict[str, str]:
        """The parameters without anything secret."""
        return {k: "***" if _SECRET.search(k) else v for k, v in self.form.items() if k != "Version"}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    content_type: str = "text/xml;charset=UTF-8"
    code: str = "ok"
    """The error's code, or "ok"; only for the record of calls."""
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))


def read_call(headers: Mapping[str, str], body: bytes) -> Call:
    """Raises ApiError AuthFailure (401) when the call is not signed."""
    scope = _SCOPE.match(headers.get("Authorization", ""))
    if scope is None:
        raise ApiError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    region, service = scope.groups()
    target = headers.get("X-Amz-Target", "")
    if target:
        return Call(service, region, target.rpartition(".")[2], _json_form(body), body, headers)
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    if not form.get("Action"):
        raise ApiError("MissingAction", "The request is missing an action or a required parameter.")
    return Call(service, region, form.pop("Action"), form, body, headers)


def error_reply(service: str, error: ApiError) -> Reply:
    """The error in the shape of the service's own protocol."""
    if service == "ssm":
        text = json.dumps({"__type": error.code, "message": error.message})
        return Reply(error.status, text.encode(), "application/x-amz-json-1.1", error.code)
    request_id = str(uuid.uuid4())
    inner = f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    if service == "sts":
        xml = (
            f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    else:
        xml = (
            f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + xml
    return Reply(error.status, text.encode(), code=error.code, request_id=request_id)


def _json_form(body: bytes) -> dict[str, str]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        raise ApiError("SerializationException", "The body is not JSON.") from None
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in document.items()}
