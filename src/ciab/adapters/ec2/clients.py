"""Connections to AWS: one session, one client per service and region, made when first needed.

A client costs about 0.3 s and 30 MB the first time, so it is never made per call.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self

from aiobotocore.config import AioConfig
from aiobotocore.parsers import AioResponseParserFactory, create_parser
from aiobotocore.session import AioSession
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

from ciab.adapters.ec2.errors import FOREIGN, Meaning, meaning
from ciab.adapters.ec2.limits import Limits
from ciab.adapters.ec2.settings import Backend

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds without a byte; RunInstances itself takes up to some ten."""
CALL_TIMEOUT = 60.0
"""Seconds for one call as a whole, looking up credentials included."""
THROTTLED_AGAIN = 3
"""How often a throttled call is sent again at once, each time when its bucket has one more."""

_BIG = 64 * 1024
"""Bytes of an answer from which parsing goes to a thread: some 20 instances, 5 ms."""

_METHODS = {
    "RunInstances": "run_instances",
    "DescribeInstances": "describe_instances",
    "TerminateInstances": "terminate_instances",
    "StopInstances": "stop_instances",
    "StartInstances": "start_instances",
    "ModifyInstanceAttribute": "modify_instance_attribute",
    "CreateTags": "create_tags",
    "DeleteTags": "delete_tags",
    "DescribeVolumes": "describe_volumes",
    "DeleteVolume": "delete_volume",
    "DescribeNetworkInterfaces": "describe_network_interfaces",
    "DeleteNetworkInterface": "delete_network_interface",
    "GetConsoleOutput": "get_console_output",
    "DescribeImages": "describe_images",
    "DescribeInstanceTypes": "describe_instance_types",
    "DescribeSubnets": "describe_subnets",
    "DescribeSecurityGroups": "describe_security_groups",
    "DescribeKeyPairs": "describe_key_pairs",
}


class Clients:
    """Calls to EC2, SSM, STS and Service Quotas. An async context manager that owns its connections.

    Nothing is repeated here that may have done its work: what an error means for money is decided by who
    made the call. Raises what `errors.FOREIGN` lists.
    """

    def __init__(self, backend: Backend, endpoint_url: str | None, limits: Limits) -> None:
        self._endpoint_url = endpoint_url
        self._limits = limits
        self._local = backend == "local"
        self._session = _session(local=self._local)
        self._open = AsyncExitStack()
        self._clients: dict[tuple[str, str], Any] = {}
        self._making = asyncio.Lock()

    async def __aenter__(self) -> Self:
        # botocore's debug log prints whole requests, and RunInstances' user-data holds the host key
        for name in ("botocore", "aiobotocore"):
            logging.getLogger(name).setLevel(logging.INFO)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @asynccontextmanager
    async def warmed(self, region: str) -> AsyncIterator[None]:
        """Makes the region's clients beside other work, so that the first sandbox need not wait for them."""
        making = asyncio.create_task(self._warm(region), name=f"warm {region}")
        try:
            yield
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def _warm(self, region: str) -> None:
        with suppress(*FOREIGN):  # whoever needs the client meets the same error, and tells it
            await self._client("ec2", region)
            await self._client("ssm", region)

    async def ec2(self, region: str, action: str, **parameters: Any) -> dict[str, Any]:
        """One call of an EC2 action, when its rate allows it.

        A throttled one has done nothing and is sent again, a few times: who needs several calls in a row
        would otherwise begin with the first one anew, and might never come to the last.
        """
        for _ in range(THROTTLED_AGAIN):
            await self.turn(region, action)
            try:
                return await self.call(region, action, parameters)
            except FOREIGN as error:
                if meaning(error) is not Meaning.THROTTLED:
                    raise
        await self.turn(region, action)
        return await self.call(region, action, parameters)

    async def turn(self, region: str, action: str) -> None:
        """Wait until the rate allows `action`; what must be recorded before a call is recorded after this."""
        await self._client("ec2", region)  # making it takes a while, in which turns would pile up
        await self._limits.take(region, action)

    async def call(self, region: str, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """One call of an EC2 action, now: its turn has been waited for."""
        client = await self._client("ec2", region)
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                answer: dict[str, Any] = await getattr(client, _METHODS[action])(**parameters)
        except FOREIGN as error:
            if meaning(error) is Meaning.THROTTLED:
                self._limits.throttled(region, action)
            raise
        return answer

    async def parameter(self, region: str, name: str) -> str:
        """A public parameter of SSM."""
        client = await self._client("ssm", region)
        async with asyncio.timeout(CALL_TIMEOUT):
            answer = await client.get_parameter(Name=name)
        return str(answer["Parameter"]["Value"])

    async def account(self, region: str) -> str:
        """The account that the credentials belong to."""
        return (await self.identity(region))[0]

    async def identity(self, region: str) -> tuple[str, str]:
        """The account that the credentials belong to, and the ARN of who they are there."""
        client = await self._client("sts", region)
        async with asyncio.timeout(CALL_TIMEOUT):
            answer = await client.get_caller_identity()
        return str(answer["Account"]), str(answer.get("Arn", ""))

    async def quota(self, region: str, code: str) -> float:
        """The value of one of EC2's quotas, by Service Quotas."""
        client = await self._client("service-quotas", region)
        async with asyncio.timeout(CALL_TIMEOUT):
            answer = await client.get_service_quota(ServiceCode="ec2", QuotaCode=code)
        return float(answer["Quota"]["Value"])

    async def _client(self, service: str, region: str) -> Any:
        async with self._making:
            if (service, region) not in self._clients:
                made = self._session.create_client(
                    service,
                    region_name=region,
                    endpoint_url=self._endpoint_url or None,
                    config=self._config(),
                    **_LOCAL_CREDENTIALS if self._local else {},
                )
                self._clients[service, region] = await self._open.enter_async_context(made)
            return self._clients[service, region]

    def _config(self) -> AioConfig:
        return AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=64,
            warm_up_loader_caches=True,  # reads EC2's large model in a thread
            # the configured endpoint is recorded with each launch; one from AWS_ENDPOINT_URL would not be
            ignore_configured_endpoint_urls=True,
            # the operator's web proxy must not see a region on this machine
            **{"proxies": {}} if self._local else {},
        )


_LOCAL_CREDENTIALS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
"""The local region asks for no secret; passed in, so that the operator's own are never looked up."""


class _Parsers(AioResponseParserFactory):  # type: ignore[misc]  # botocore has no types
    """Parses large answers in a thread: 1,000 instances would hold the event loop for 0.3 s."""

    def create_parser(self, protocol_name: str) -> Any:
        kind: Any = type(create_parser(protocol_name))
        if protocol_name != "ec2":
            return kind(**self._defaults)

        class OffLoop(kind):  # type: ignore[misc]  # botocore has no types
            async def _do_parse(self, response: dict[str, Any], shape: Any) -> Any:
                if len(response["body"]) < _BIG:
                    return super()._do_parse(response, shape)
                return await asyncio.to_thread(super()._do_parse, response, shape)

        return OffLoop(**self._defaults)


def _session(*, local: bool) -> AioSession:
    variables = None
    if local:
        # No profile, no file, no AWS_* of the operator: names keep their defaults and lose their sources.
        variables = {
            name: (None, None, default, convert)
            for name, (_, _, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
        }
        variables["config_file"] = variables["credentials_file"] = (None, None, os.devnull, None)
    session = AioSession(session_vars=variables)
    session.register_component("response_parser_factory", _Parsers())
    return session
