import json

import pytest

from ciab.localec2.api.wire import ApiError, error_reply, read_call


def signed(region: str, service: str) -> dict[str, str]:
    scope = f"AKIA/20260101/{region}/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


def test_the_region_is_the_one_that_the_call_was_signed_for() -> None:
    call = read_call(signed("eu-west-1", "ec2"), b"Action=RunInstances&Version=2016-11-15&UserData=c2VjcmV0")
    assert (call.service, call.region, call.action) == ("ec2", "eu-west-1", "RunInstances")


def test_what_is_secret_is_not_shown() -> None:
    body = b"Action=RunInstances&Version=2016-11-15&UserData=c2VjcmV0&ImageId=ami-1"
    assert read_call(signed("eu-west-1", "ec2"), body).shown() == {"UserData": "***", "ImageId": "ami-1"}


def test_a_json_call_is_named_by_its_header() -> None:
    headers = signed("us-east-1", "ssm") | {"X-Amz-Target": "AmazonSSM.GetParameter"}
    assert read_call(headers, b'{"Name": "/a"}').action == "GetParameter"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic abc"}])
def test_an_unsigned_call_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        read_call(headers, b"Action=RunInstances")
    assert (caught.value.code, caught.value.status) == ("AuthFailure", 401)


def test_errors_come_in_the_services_own_protocol() -> None:
    error = ApiError("Some.Code", "a < b", 400)
    assert b"<Code>Some.Code</Code><Message>a &lt; b</Message>" in error_reply("ec2", error).body
    assert json.loads(error_reply("ssm", error).body) == {"__type": "Some.Code", "message": "a < b"}
