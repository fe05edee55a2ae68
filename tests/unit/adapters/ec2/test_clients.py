"""What clients are made of: whose endpoint, whose credentials, who parses."""

import asyncio
import logging
import threading
from typing import Any

import pytest

from ciab.adapters.ec2.clients import Clients, _Parsers
from ciab.adapters.ec2.limits import Limits


async def test_an_empty_endpoint_means_aws_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAxxxxxxxxxxxxxxxx")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with Clients("ec2", None, Limits()) as clients:
        client = await clients._client("ec2", "eu-west-1")
        assert client.meta.endpoint_url == "https://ec2.eu-west-1.amazonaws.com"
        assert client.meta.config.retries["total_max_attempts"] == 1
        assert await clients._client("ec2", "eu-west-1") is client


async def test_debug_logs_of_the_sdk_would_show_the_host_key_and_are_off() -> None:
    logging.getLogger("botocore").setLevel(logging.DEBUG)
    async with Clients("local", "http://127.0.0.1:9", Limits()):
        assert not logging.getLogger("botocore.endpoint").isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize(("count", "elsewhere"), [(1, False), (2000, True)], ids=["small", "large"])
async def test_large_answers_are_parsed_off_the_event_loop(
    count: int, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = _Parsers().create_parser("ec2")
    threads = []
    body = "<Answer>" + "<item><name>some text in it</name></item>" * count + "</Answer>"
    response = {"status_code": 200, "headers": {}, "body": body.encode(), "context": {}}

    class Shape:
        """Is looked at by whoever parses."""

        def __getattr__(self, name: str) -> Any:
            threads.append(threading.current_thread())
            raise LookupError(name)

    with pytest.raises(LookupError):
        await asyncio.ensure_future(made._do_parse(response, Shape()))
    assert (threads[0] is not threading.main_thread()) is elsewhere
