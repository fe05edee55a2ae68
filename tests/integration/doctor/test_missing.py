"""What AWS does not have, does not answer or would refuse, as `ciab doctor` tells it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest
from aiohttp import ClientSession, web

from tests.installation import Installation, security_group
from tests.region import UBUNTU, RunningRegion

MISSING = "0123456789abcdef0"
IRELAND = "eu-west-1"


@pytest.mark.parametrize(
    ("changed", "check", "told"),
    [
        ({"default_ami": f"ami-{MISSING}"}, "image", f"ami-{MISSING}"),
        ({"subnet_id": f"subnet-{MISSING}"}, "subnet", f"subnet-{MISSING}"),
        ({"subnet_ids": [f"subnet-{MISSING}"]}, "subnet", f"subnet-{MISSING}"),
        ({"security_group_ids": [f"sg-{MISSING}"]}, "security group", f"sg-{MISSING}"),
        ({"instance_type": "t3.mega"}, "instance type", "t3.mega"),
        ({"instance_types": ["m5.mega"]}, "instance type", "m5.mega"),
        ({"instance_types": ["t4g.medium"], "default_ami": "AMD64"}, "image", "arm64"),
        ({"key_pair_name": "nobodys"}, "key pair", "nobodys"),
        ({"hibernate_on_pause": True, "root_volume_size_gb": 4}, "instance type", "cannot hold the memory"),
        ({"root_volume_size_gb": 7}, "launch", "smaller than snapshot"),
        ({"regions": {IRELAND: {"subnet_id": f"subnet-{MISSING}"}}}, f"subnet of {IRELAND}", MISSING),
        ({"regions": {IRELAND: {"subnet_id": f"subnet-{MISSING}"}}}, f"subnet of {IRELAND}", MISSING),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_the_region_does_not_have_is_exactly_its_own_line(
    installation: Installation, here: RunningRegion, changed: dict[str, Any], check: str, told: str
) -> None:
    if changed.get("default_ami") == "AMD64":
        async with here.client("ssm") as ssm:
            changed["default_ami"] = (await ssm.get_parameter(Name=UBUNTU))["Parameter"]["Value"]
    installation.ec2.update(changed)
    if "key_pair_name" in changed:
        key = asyncssh.generate_private_key("ssh-ed25519").export_private_key("openssh")
        file = installation.folder / ".ssh" / f"{changed['key_pair_name']}.pem"
        file.parent.mkdir()
        file.touch(mode=0o600)
        file.write_bytes(key)
    wrong = installation.wrong()
    assert set(wrong) == {check}
    assert told in wrong[check]["message"]
    assert wrong[check]["hint"]


async def test_what_depends_on_a_fault_is_skipped_and_says_why(installation: Installation) -> None:
    installation.ec2["instance_type"] = "t3.mega"
    _, found = installation.findings()
    skipped = {name: finding["message"] for name, finding in found.items() if finding["status"] == "skipped"}
    assert skipped["image"] == "it depends on: instance type"
    assert "image" in skipped["launch"]
    assert found["subnet"]["status"] == "ok"


async def test_without_credentials_only_that_is_wrong(installation: Installation) -> None:
    installation.environment = {"AWS_EC2_METADATA_DISABLED": "true"}
    code, found = installation.findings()
    assert code == 1
    assert [name for name, finding in found.items() if finding["status"] == "error"] == ["credentials"]
    assert "AWS_ACCESS_KEY_ID" in found["credentials"]["hint"]
    assert found["launch"]["message"] == "it depends on: credentials"
    assert found["price"]["status"] == found["packer"]["status"] == "ok"


async def test_an_endpoint_that_does_not_answer_is_told_in_time(installation: Installation) -> None:
    installation.ec2["endpoint_url"] = "http://127.0.0.1:9"
    began = time.monotonic()
    wrong = installation.wrong()
    assert set(wrong) == {"credentials"}
    assert time.monotonic() - began < 30


async def test_groups_that_let_nobody_in_or_everybody_are_warned_of(
    installation: Installation, here: RunningRegion
) -> None:
    del installation.ec2["security_group_ids"]
    code, found = installation.findings()
    assert code == 0
    assert found["security group"]["status"] == "warning"
    assert "lets anybody in on TCP port 22" in found["security group"]["message"]
    assert "authorize-security-group-ingress --region us-east-1" in found["security group"]["hint"]
    installation.ec2["security_group_ids"] = [await security_group(here, "198.51.100.7/32", "0.0.0.0/0")]
    code, found = installation.findings()
    assert code == 0
    assert found["security group"]["status"] == "warning"
    assert "the whole internet" in found["security group"]["message"]


@pytest.mark.parametrize(("most", "status"), [(0, "error"), (1, "error"), (2, "ok"), (64, "ok")])
async def test_the_quota_is_compared_with_what_a_machine_needs(
    installation: Installation, here: RunningRegion, most: int, status: str
) -> None:
    async with quotas(here, most) as endpoint:
        installation.ec2["endpoint_url"] = endpoint
        process = installation.begin("-o", "json")
        out, _ = await asyncio.to_thread(process.communicate, timeout=60)
    (found,) = (one for one in json.loads(out)["findings"] if one["check"] == "quota")
    assert (found["status"], "L-1216C47A" in found["tried"]) == (status, True)
    assert found["message"] == f"0 of {most} vCPUs are in use, and a machine needs 2"


async def test_an_endpoint_that_launches_in_a_dry_run_is_told_of_and_leaves_nothing(
    installation: Installation, here: RunningRegion
) -> None:
    async with deaf_to_dry_runs(here) as endpoint:
        installation.ec2["endpoint_url"] = endpoint
        process = installation.begin("-o", "json")
        out, _ = await asyncio.to_thread(process.communicate, timeout=60)
    (found,) = (one for one in json.loads(out)["findings"] if one["check"] == "launch")
    assert found["status"] == "error"
    async with here.client("ec2") as ec2:
        told = await ec2.describe_instances()
    (state,) = (one["State"]["Name"] for each in told["Reservations"] for one in each["Instances"])
    assert state in {"shutting-down", "terminated"}


@asynccontextmanager
async def quotas(here: RunningRegion, most: float) -> AsyncIterator[str]:
    """The region with Service Quotas beside it, which answers `most` to everything."""

    async def answer(request: web.Request) -> web.Response | bytes:
        if "ServiceQuotas" not in request.headers.get("X-Amz-Target", ""):
            return await request.read()
        assert await request.json() == {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
        return web.json_response({"Quota": {"Value": most}}, content_type="application/x-amz-json-1.1")

    async with before(here, answer) as endpoint:
        yield endpoint


@asynccontextmanager
async def deaf_to_dry_runs(here: RunningRegion) -> AsyncIterator[str]:
    """The region as one of its kind that does not know DryRun."""

    async def answer(request: web.Request) -> web.Response | bytes:
        return (await request.read()).replace(b"&DryRun=true", b"")

    async with before(here, answer) as endpoint:
        yield endpoint


Answer = Callable[[web.Request], Awaitable[web.Response | bytes]]


@asynccontextmanager
async def before(here: RunningRegion, answer: Answer) -> AsyncIterator[str]:
    """An endpoint before the region: it answers by itself, or gives what the region is asked instead."""

    async def handle(request: web.Request) -> web.Response:
        own = await answer(request)
        if isinstance(own, web.Response):
            return own
        left_out = {"Host", "Content-Length", "Transfer-Encoding"}
        kept = {name: value for name, value in request.headers.items() if name not in left_out}
        async with session.post(here.endpoint, data=own, headers=kept) as told:
            return web.Response(status=told.status, body=await told.read(), content_type="text/xml")

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    async with ClientSession() as session:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
