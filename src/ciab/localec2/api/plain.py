"""The few calls of SSM and STS that are answered, in full, without moto."""

import json
import uuid
from typing import Any

from ciab.localec2.api.catalogue import parameters
from ciab.localec2.api.wire import ApiError, Call, Reply

ACCOUNT = "000000000000"


def answer(call: Call) -> Reply:
    """Raises ApiError."""
    if call.service == "sts" and call.action == "GetCallerIdentity":
        return _caller_identity()
    if call.service == "ssm":
        document = json.loads(call.body or b"{}")
        if call.action == "GetParameter":
            return _json({"Parameter": _parameter(call.region, str(document.get("Name", "")))})
        if call.action == "GetParameters":
            known = parameters(call.region)
            names = [str(name) for name in document.get("Names", [])]
            found = [_parameter(call.region, name) for name in names if name in known]
            return _json({"Parameters": found, "InvalidParameters": [n for n in names if n not in known]})
    raise ApiError("InvalidAction", f"{call.service} {call.action} is not built in this local region.")


def _parameter(region: str, name: str) -> dict[str, Any]:
    value = parameters(region).get(name)
    if value is None:
        raise ApiError("ParameterNotFound", f"Parameter {name} not found.")
    return {
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": 1,
        "ARN": f"arn:aws:ssm:{region}::parameter{name}",
        "DataType": "aws:ec2:image",
    }


def _caller_identity() -> Reply:
    request_id = str(uuid.uuid4())
    xml = (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"<GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/local</Arn>"
        f"<UserId>AIDALOCAL</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
    return Reply(200, xml.encode(), request_id=request_id)


def _json(document: dict[str, Any]) -> Reply:
    return Reply(200, json.dumps(document).encode(), "application/x-amz-json-1.1")
