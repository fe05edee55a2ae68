"""Where a sandbox's id is, and where its private keys are not: files, logs, processes, answers."""

import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from tests.region import RunningRegion
from tests.server import RunningServer, server

ARMOUR = b"OPENSSH PRIVATE KEY"
API_KEY = "an-api-key-that-nobody-may-see"
ENV_VALUE = "an-env-value-that-nobody-may-see"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    config = {"security": {"api_keys": [API_KEY]}, "logging": {"level": "debug"}}
    async with server(tmp_path_factory.mktemp("secrets"), config) as running:
        yield running


async def created(here: RunningServer, name: str) -> SandboxInfo:
    async with here.client(API_KEY) as client:
        spec = SandboxSpec(agent_provider="command", name=name, env_vars={"TOKEN": ENV_VALUE})
        info = await client.wait_until((await client.create_sandbox(spec)).id)
        assert info.state is State.RUNNING
        ran = await client.exec(info.id, ExecRequest(command=["sh", "-c", "sleep 0.5; echo $TOKEN"]))
        assert ran.stdout == ENV_VALUE + "\n"
        return info


def processes() -> dict[str, bytes]:
    """Command line and environment of every process that may be looked at."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        for part in ("cmdline", "environ"):
            try:
                found[f"{folder}/{part}"] = (folder / part).read_bytes()
            except OSError:
                continue
    return found


def files(here: RunningServer) -> dict[Path, bytes]:
    """All that the server wrote, but for what belongs to the region: that is AWS's side."""
    kept = [here.folder / "server.log", *here.database.parent.glob("ciab.db*")]
    return {path: path.read_bytes() for path in kept}


async def test_the_id_is_the_same_in_api_tags_database_and_log(here: RunningServer) -> None:
    info = await created(here, "same-id")
    [machine] = [
        one for one in await here.machines() if one["InstanceId"] == (info.instance and info.instance.id)
    ]
    tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
    assert (tags["ciab-sandbox-id"], tags["Name"]) == (info.id, "ciab-same-id")
    with sqlite3.connect(f"file:{here.database}?mode=ro", uri=True) as database:
        assert database.execute("select id from sandboxes where name = 'same-id'").fetchall() == [(info.id,)]
    assert f"sandbox={info.id}" in here.output()


async def test_the_launch_has_a_client_token_and_no_aws_key_pair(here: RunningServer) -> None:
    info = await created(here, "token")
    region = RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])
    launches = [call for call in (await region.calls())["last"] if call["action"] == "RunInstances"]
    [sent] = [call["parameters"] for call in launches if info.id in str(call["parameters"])]
    assert sent["ClientToken"] == f"{info.id}-1"
    assert "KeyName" not in sent
    async with region.client("ec2") as ec2:
        assert (await ec2.describe_key_pairs())["KeyPairs"] == []


async def test_secrets_are_in_no_file_process_log_or_answer(here: RunningServer) -> None:
    info = await created(here, "hidden")
    secrets = (ARMOUR, ENV_VALUE.encode())
    for path, content in files(here).items():
        assert not [secret for secret in (*secrets, API_KEY.encode()) if secret in content], path
    for where, content in processes().items():
        assert ARMOUR not in content, where
        if where.endswith("cmdline"):
            assert not [secret for secret in (*secrets, API_KEY.encode()) if secret in content], where
    async with here.http(headers={"X-API-Key": API_KEY}) as http:
        for path in (f"/api/v1/sandboxes/{info.id}", "/api/v1/sandboxes", "/openapi.json"):
            answer = await http.get(path)
            assert answer.status_code == 200
            assert not [secret for secret in secrets if secret in answer.content], path
        refused = await http.post(
            "/api/v1/sandboxes", json={"agent_provider": 1, "env_vars": {"A": ENV_VALUE, "": "x"}}
        )
        assert refused.status_code == 422
        assert ENV_VALUE not in refused.text


async def test_after_a_delete_not_even_ciphertext_is_left(here: RunningServer) -> None:
    info = await created(here, "forgotten")
    with sqlite3.connect(f"file:{here.database}?mode=ro", uri=True) as database:
        sealed = [
            value
            for table, owner in (("keys", "sandbox_id"), ("launch_attempts", "sandbox_id"))
            for row in database.execute(f"select * from {table} where {owner} = ?", (info.id,))
            for value in row
            if isinstance(value, bytes) and value
        ]
    assert len(sealed) == 2, "the pairs, and the request that holds the host key"
    before = b"".join(files(here).values())
    assert all(value[:64] in before for value in sealed)
    async with here.client(API_KEY) as client:
        await client.delete_sandbox(info.id)
        assert (await client.wait_until(info.id)).state is State.TERMINATED
    after = b"".join(files(here).values())
    assert not [value for value in sealed if value[:64] in after or value[-64:] in after]


async def test_what_the_server_keeps_is_its_owners_only(here: RunningServer) -> None:
    kept = [
        here.database.parent,
        *here.database.parent.glob("*.db*"),
        here.database.parent / "encryption.key",
    ]
    assert {str(path): oct(path.stat().st_mode & 0o077) for path in kept} == {
        str(path): "0o0" for path in kept
    }


async def test_no_log_line_holds_an_argv_or_an_environment(here: RunningServer) -> None:
    assert not re.search(r"sleep 0\.5|TOKEN", here.output())
