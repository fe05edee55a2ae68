"""A sandbox's whole life through the real server: over HTTP, on a machine of the local region."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from pydantic import SecretStr

from ciab.core.errors import FileMissing, InvalidRequest, InvalidState
from ciab.core.states import State
from ciab.schema.events import StreamEvent
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.server import RunningServer, server

MIB = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with server(tmp_path_factory.mktemp("life")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(here: RunningServer) -> SandboxInfo:
    async with here.client() as client:
        spec = SandboxSpec(
            agent_provider="command", name="life", env_vars={"TOKEN": SecretStr("s3cret-value")}
        )
        info = await client.create_sandbox(spec)
        return await client.wait_until(info.id)


@pytest_asyncio.fixture(loop_scope="module")
async def client(here: RunningServer, made: SandboxInfo) -> AsyncIterator[Client]:
    assert made.state is State.RUNNING, made.failure
    async with here.client() as client:
        yield client


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_created_sandbox_runs_on_one_machine_that_bears_its_id(
    here: RunningServer, made: SandboxInfo
) -> None:
    [machine] = await here.machines()
    tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
    assert tags["ciab-sandbox-id"] == made.id
    assert made.instance is not None
    assert made.instance.id == machine["InstanceId"]
    assert made.endpoint_url == f"ssh://ubuntu@{machine['PublicIpAddress']}:2222"


async def test_a_command_has_the_sandboxs_variables_which_no_answer_shows(
    client: Client, made: SandboxInfo
) -> None:
    ran = await client.exec("life", ExecRequest(command=["printenv", "TOKEN"]))
    assert (ran.exit_code, ran.stdout) == (0, "s3cret-value\n")
    shown = await client.get_sandbox("life")
    assert "s3cret-value" not in shown.model_dump_json()


async def test_output_streams_as_it_happens_and_characters_stay_whole(client: Client) -> None:
    script = r"printf '\xc3'; sleep 0.2; printf '\xa9\n'; echo no >&2; exit 3"
    frames = [f async for f in client.exec_stream("life", ExecRequest(command=["bash", "-c", script]))]
    assert "".join(f.text for f in frames if f.type == "stdout") == "é\n"
    assert "".join(f.text for f in frames if f.type == "stderr") == "no\n"
    assert frames[-1].type == "exit"
    assert frames[-1].code == 3


async def test_a_time_out_is_a_result_with_the_output_so_far(client: Client) -> None:
    request = ExecRequest(command=["bash", "-c", "echo begun; sleep 60"], timeout_secs=0.5)
    ran = await client.exec("life", request)
    assert (ran.exit_code, ran.timed_out, ran.stdout) == (124, True, "begun\n")


async def test_more_output_than_is_kept_is_cut_and_said(client: Client) -> None:
    ran = await client.exec("life", ExecRequest(command=["head", "-c", str(11 * MIB), "/dev/zero"]))
    assert (len(ran.stdout), ran.truncated, ran.exit_code) == (10 * MIB, True, 0)


async def test_binary_output_and_input_go_through_as_base64(client: Client) -> None:
    data = bytes(range(256))
    request = ExecRequest(
        command=["cat"], stdin=SecretStr(base64.b64encode(data).decode()), encoding="base64"
    )
    ran = await client.exec("life", request)
    assert base64.b64decode(ran.stdout) == data


async def test_the_remote_tree_ends_when_its_streaming_client_goes(client: Client) -> None:
    script = "echo $$; setsid sleep 4711 & sleep 4711"
    frames = client.exec_stream("life", ExecRequest(command=["bash", "-c", script]))
    assert (await anext(frames)).type == "stdout"
    await frames.aclose()
    count = ExecRequest(command=["bash", "-c", "pgrep -fc '^sleep 4711'"])
    async with asyncio.timeout(5):
        while (await client.exec("life", count)).stdout != "0\n":
            await asyncio.sleep(0.05)


async def test_the_remote_tree_ends_when_its_waiting_client_goes(here: RunningServer, client: Client) -> None:
    async with here.http() as http:
        body = {"command": ["sleep", "4712"]}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await http.post("/api/v1/sandboxes/life/exec", json=body)
    count = ExecRequest(command=["bash", "-c", "pgrep -fc '^sleep 4712'"])
    async with asyncio.timeout(5):
        while (await client.exec("life", count)).stdout != "0\n":
            await asyncio.sleep(0.05)


async def test_files_of_any_name_come_back_as_they_went(client: Client) -> None:
    content = bytes(range(256)) * 40_000
    for name in ("plain", "a b", 'quote\'s "two"', "new\nline", "ü%2F?#", "~/in-home", "/tmp/deep/er"):
        await client.upload_file("life", name, content)
        digest = hashlib.sha256()
        async for piece in client.download_file("life", name):
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(content).digest(), name
        await client.delete_file("life", name)
        with pytest.raises(FileMissing):
            await anext(client.download_file("life", name))


async def test_a_folder_is_no_file(here: RunningServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="folder"):
        await anext(client.download_file("life", "/etc"))
    async with here.http() as http:
        refused = await http.put("/api/v1/sandboxes/life/files/etc", content=b"x")
        assert refused.status_code == 422


async def test_head_tells_the_size_and_files_without_one_are_read_to_their_end(
    here: RunningServer, client: Client
) -> None:
    async with here.http() as http:
        path = "/api/v1/sandboxes/life/files"
        head = await http.head(f"{path}/etc/passwd")
        body = await http.get(f"{path}/etc/passwd")
        assert head.headers["content-length"] == str(len(body.content))
        assert (await http.get(f"{path}/proc/self/status")).content.startswith(b"Name:")


async def test_the_story_is_replayed_from_any_id(client: Client, made: SandboxInfo) -> None:
    story = await _until_running(client, made.id, 0)
    kinds = [event.event_type for event in story if event.id]
    assert kinds[0] == "sandbox_state_changed"
    assert kinds[-1] == "provisioning_complete"
    middle = story[len(story) // 2]
    assert middle.id is not None
    rest = await _until_running(client, made.id, middle.id)
    assert [e.id for e in rest if e.id] == [e.id for e in story if e.id and e.id > middle.id]


async def test_an_idempotency_key_gives_one_sandbox_and_its_end_is_told(
    here: RunningServer, client: Client
) -> None:
    spec = SandboxSpec(agent_provider="command", name="twice")
    made = [await client.create_sandbox(spec, idempotency_key="key-1") for _ in range(2)]
    assert made[0].id == made[1].id
    await client.delete_sandbox("twice")
    await client.delete_sandbox("twice")
    story = [event async for event in client.events(made[0].id)]
    assert story[-1].data["to"] == "terminated"
    assert len(await here.machines()) == 1
    with pytest.raises(InvalidState):
        await client.exec(made[0].id, ExecRequest(command=["true"]))


async def _until_running(client: Client, sandbox: str, after: int) -> list[StreamEvent]:
    story: list[StreamEvent] = []
    async for event in client.events(sandbox, after):
        story.append(event)
        if event.event_type == "provisioning_complete":
            return story
    return story
