"""What an AWS account refuses: told in one line by `ciab sandbox create`, with nothing left behind."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.commands import Ciab
from tests.region import REGION, RunningRegion, region
from tests.server import RunningServer, server

pytestmark = pytest.mark.asyncio(loop_scope="module")

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIALOCALREGION00000", "AWS_SECRET_ACCESS_KEY": "s3cret-of-the-account"}


@dataclass(frozen=True)
class Account:
    """A region, and a server with `backend = "ec2"` that uses it."""

    region: RunningRegion
    server: RunningServer

    async def launches(self) -> int:
        """How often an instance was asked for."""
        counts = (await self.region.calls())["counts"]
        return int(counts.get(REGION, {}).get("RunInstances", 0))

    async def instances(self) -> list[object]:
        """Those that may cost something."""
        async with self.region.client("ec2") as ec2:
            found = await ec2.describe_instances()
        each = [one for reservation in found["Reservations"] for one in reservation["Instances"]]
        return [one for one in each if one["State"]["Name"] != "terminated"]


def using(here: RunningRegion) -> dict[str, object]:
    return {"runtime": {"backend": "ec2", "ec2": {"endpoint_url": here.endpoint, "ssh_port": 2222}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def account(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Account]:
    folder = tmp_path_factory.mktemp("account")
    async with (
        region(folder / "region", faults={"pending_secs": 0, "shutting_down_secs": 0}) as here,
        server(folder / "server", using(here), environment=CREDENTIALS) as running,
    ):
        yield Account(here, running)


@pytest.mark.parametrize(
    ("options", "faults", "launches", "said"),
    [
        (
            ["--image", "ami-0123456789abcdef0"],
            {},
            0,
            "choose_image: sandbox it: *the image ami-0123456789abcdef0 in us-*; check the image's id",
        ),
        (["--instance-type", "t3.enormous"], {}, 0, "choose_image: *t3.enormous*; check instance_type"),
        (
            [],
            {"denied": ["RunInstances"]},
            1,
            'launch_machine: *may not do ec2:RunInstances*; allow it in IAM: *"Action": "ec2:RunInstances"',
        ),
        (
            [],
            {"quota": {"vcpus": 0}},
            1,
            "launch_machine: *quota*(VcpuLimitExceeded)*; end what is not needed",
        ),
    ],
    ids=["image", "type", "permission", "quota"],
)
async def test_create(
    account: Account, options: list[str], faults: dict[str, object], launches: int, said: str
) -> None:
    before = await account.launches()
    await account.region.set_faults(**{"denied": [], "quota": None, **faults})
    ciab = Ciab(account.server.url)
    create = ["sandbox", "create", "--provider", "command", "--name", "it", *options]
    failed = await asyncio.to_thread(ciab, *create)
    assert failed.code == 1
    await _one_line_and_nothing_left(account, failed.lines[-1], said)
    assert await account.launches() - before == launches


@pytest.mark.parametrize(
    ("ec2", "said"),
    [
        (
            {"subnet_id": "subnet-0123456789abcdef0"},
            "launch_machine: *'subnet-0123456789abcdef0' does not exist*; check the subnet's id",
        ),
        (
            {"security_group_ids": ["sg-0123456789abcdef0"]},
            "launch_machine: *'sg-0123456789abcdef0' does not exist*; check security_group_ids",
        ),
    ],
)
async def test_a_network_that_does_not_exist(account: Account, ec2: dict[str, object], said: str) -> None:
    async with account.server.client() as client, account.server.http() as http:
        answer = await http.post("/api/v1/sandboxes", json={"agent_provider": "command", "ec2": ec2})
        info = await client.wait_until(answer.json()["id"])
    assert info.failure is not None
    assert info.failure.code == "ec2_error"
    line = f"error: {info.failure.step}: {info.failure.message}; {info.failure.hint}"
    await _one_line_and_nothing_left(account, line, said)


async def _one_line_and_nothing_left(account: Account, line: str, said: str) -> None:
    rest = line.removeprefix("error: ")
    for part in said.split("*"):
        assert part in rest, line
        rest = rest.partition(part)[2]
    assert await account.instances() == []
    output = account.server.output()
    assert "Traceback" not in output
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in line + output


async def test_without_credentials_a_first_start_makes_nothing(account: Account, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    nobody = {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
    here = RunningServer(tmp_path / "server", using(account.region), nobody)
    said = here.refused()
    assert said.startswith("error: could not ask AWS whose credentials these are: no usable AWS credentials")
    assert "; credentials are looked for in AWS_ACCESS_KEY_ID" in said
    assert "\n" not in said
    assert not here.database.parent.exists()
    assert list(home.iterdir()) == []


async def test_of_a_configuration_every_mistake_is_named_and_nothing_starts(tmp_path: Path) -> None:
    here = RunningServer(
        tmp_path,
        {
            "server": {"prot": 1},
            "runtime": {"ec2": {"tags": {"aws:cost": "x"}, "root_volume_size_gb": "s3cret"}},
            "security": {"api_keys": ["s3cret s3cret s3cret"]},
        },
    )
    said = here.refused()
    for words in ("server.port", "runtime.ec2.tags: the tag 'aws:cost'", "api_keys[0]: a key is printable"):
        assert words in said
    assert "s3cret" not in said
    assert said.count("config.toml:") == 4
    assert not here.database.parent.exists()
