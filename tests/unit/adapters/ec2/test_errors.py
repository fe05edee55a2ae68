"""What EC2's errors mean, and how they are told."""

from typing import Any

import pytest
from aiohttp import ClientPayloadError
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProfileNotFound,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from ciab.adapters.ec2.errors import Meaning, fault, meaning, translated
from ciab.core.errors import CapacityUnavailable, RuntimeRejected, RuntimeUnavailable


def said(
    code: str, message: str = "so it is", status: int = 400, action: str = "RunInstances"
) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, action)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (said("InsufficientInstanceCapacity", status=500), Meaning.CAPACITY),
        (said("Unsupported"), Meaning.CAPACITY),
        (said("InsufficientFreeAddressesInSubnet"), Meaning.CAPACITY),
        (said("SpotMaxPriceTooLow"), Meaning.CAPACITY),
        (said("MaxSpotInstanceCountExceeded"), Meaning.CAPACITY),
        (said("UnfulfillableCapacity", status=500), Meaning.CAPACITY),
        (said("VcpuLimitExceeded"), Meaning.QUOTA),
        (said("InstanceLimitExceeded"), Meaning.QUOTA),
        (said("VolumeLimitExceeded"), Meaning.QUOTA),
        (said("RequestLimitExceeded", status=503), Meaning.THROTTLED),
        (said("ThrottlingException"), Meaning.THROTTLED),
        (said("Throttling.User"), Meaning.THROTTLED),
        (said("UnauthorizedOperation", status=403), Meaning.DENIED),
        (said("ExpiredToken"), Meaning.DENIED),
        (NoCredentialsError(), Meaning.DENIED),
        (ProfileNotFound(profile="x"), Meaning.DENIED),
        (said("InvalidAMIID.NotFound"), Meaning.REFUSED),
        (said("InvalidSubnetID.NotFound"), Meaning.REFUSED),
        (said("InvalidParameterValue"), Meaning.REFUSED),
        (said("SomethingNew"), Meaning.REFUSED),
        (ParamValidationError(report="x"), Meaning.REFUSED),
        (said("InternalError", status=500), Meaning.UNSURE),
        (said("SomethingNew", status=502), Meaning.UNSURE),
        (said("", status=200), Meaning.UNSURE),
        (EndpointConnectionError(endpoint_url="x"), Meaning.UNSURE),
        (ConnectionClosedError(endpoint_url="x"), Meaning.UNSURE),
        (ReadTimeoutError(endpoint_url="x"), Meaning.UNSURE),
        (ResponseParserError("cut"), Meaning.UNSURE),
        (ClientPayloadError("cut"), Meaning.UNSURE),
        (TimeoutError(), Meaning.UNSURE),
    ],
    ids=str,
)
def test_every_error_has_one_meaning(error: Exception, expected: Meaning) -> None:
    assert meaning(error) is expected


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("InsufficientInstanceCapacity", CapacityUnavailable),
        ("VcpuLimitExceeded", RuntimeRejected),
        ("RequestLimitExceeded", RuntimeUnavailable),
        ("UnauthorizedOperation", RuntimeRejected),
        ("InvalidAMIID.NotFound", RuntimeRejected),
        ("InternalError", RuntimeUnavailable),
    ],
)
def test_a_fault_says_what_was_tried_and_what_happened(code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, translated("launch a machine in us-east-1"):
        raise said(code, "the reason of EC2")
    assert str(caught.value).startswith("could not launch a machine in us-east-1: ")
    assert "the reason of EC2" in str(caught.value) or code == "RequestLimitExceeded"
    assert code in str(caught.value) or code == "InternalError"
    assert isinstance(caught.value.__cause__, ClientError)


def test_other_exceptions_pass_untouched() -> None:
    with pytest.raises(KeyError), translated("do it"):
        raise KeyError("ours")


def test_a_missing_permission_names_the_action_that_ec2_named() -> None:
    text = (
        "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized to "
        "perform: iam:PassRole on resource: arn:aws:iam::1:role/y because no policy allows it. "
        "Encoded authorization failure message: AbCdEf-0123_secret"
    )
    told = fault("launch a machine", said("UnauthorizedOperation", text))
    assert "iam:PassRole" in told.message
    assert told.hint
    assert '"Action": "iam:PassRole"' in told.hint
    assert "AbCdEf" not in told.message + told.hint


@pytest.mark.parametrize(
    ("action", "named"),
    [("TerminateInstances", "ec2:"), ("GetCallerIdentity", "sts:"), ("GetParameter", "ssm:")],
)
def test_a_missing_permission_else_names_the_call(action: str, named: str) -> None:
    told = fault("do it", said("AccessDenied", "no", action=action))
    assert f"{named}{action}" in (told.hint or "")


def test_a_quota_is_named() -> None:
    assert "running instances (vCPUs)" in (fault("launch", said("VcpuLimitExceeded")).hint or "")


def test_a_missing_role_of_spot_instances_says_how_to_make_it() -> None:
    told = fault("launch", said("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "no role"))
    assert "create-service-linked-role" in (told.hint or "")
    assert "no role" in told.message


def test_a_parameter_is_named_and_its_value_is_not() -> None:
    report = "Invalid type for parameter UserData, value: PRIVATE KEY, type: <class 'int'>, valid types: str"
    told = fault("launch", ParamValidationError(report=report))
    assert "UserData" in told.message
    assert "PRIVATE" not in told.message
