"""The whole path on machines with real systemd, cloud-init and OpenSSH, with `backend = "ec2"`.

The region is an EC2 endpoint like any other here: the server finds its credentials in the environment and
reaches port 22 of machines that know nothing of CIAB but the user-data they were launched with.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ciab.core.errors import GuestFault, GuestUnreachable
from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.region import RunningRegion
from tests.server import RunningServer, server

pytestmark = [pytest.mark.image, pytest.mark.asyncio(loop_scope="module")]

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE000000000", "AWS_SECRET_ACCESS_KEY": "any"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(aws: RunningRegion, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    config = {"runtime": {"backend": "ec2", "ec2": {"endpoint_url": aws.endpoint}}}
    async with server(tmp_path_factory.mktemp("real"), config, environment=CREDENTIALS) as running:
        yield running


async def created(client: Client, name: str, **spec: object) -> SandboxInfo:
    wish = SandboxSpec.model_validate({"agent_provider": "command", "name": name, **spec})
    info = await client.wait_until((await client.create_sandbox(wish)).id)
    assert info.state is State.RUNNING, info.failure
    return info


async def test_create_exec_files_delete(here: RunningServer, aws: RunningRegion) -> None:
    async with here.client() as client:
        info = await created(
            client, "whole", env_vars={"GREETING": "hello"}, provisioning_scripts=["echo $GREETING > made"]
        )
        assert info.endpoint_url
        assert info.endpoint_url.endswith(":22")
        request = ExecRequest(
            command=["sh", "-c", "cat made; id -un; ps -p 1 -o comm=; cloud-init status --wait | tail -n 1"]
        )
        ran = await client.exec("whole", request)
        assert ran.stdout.splitlines() == ["hello", "ubuntu", "systemd", "status: done"]
        content = bytes(range(256)) * 4096
        await client.upload_file("whole", "~/workspace/a b/blob", content)
        assert (
            b"".join([part async for part in client.download_file("whole", "~/workspace/a b/blob")])
            == content
        )
        summed = await client.exec("whole", ExecRequest(command=["stat", "-c", "%s", "a b/blob"]))
        assert summed.stdout == f"{len(content)}\n"
        await client.delete_file("whole", "~/workspace/a b/blob")
        assert [file.path for file in await client.list_files("whole", "~/workspace/a b")] == []
        await client.delete_sandbox("whole")
        assert (await client.wait_until(info.id)).state is State.TERMINATED
    own = [{"Name": "tag:ciab-sandbox-id", "Values": [info.id]}]
    async with aws.client("ec2") as ec2, asyncio.timeout(60):
        # nothing is billed while it shuts down; its volume goes when that is over
        while (states := _states(await ec2.describe_instances(Filters=own))) == ["shutting-down"]:
            await asyncio.sleep(0.1)
        assert states == ["terminated"]
        assert (await ec2.describe_volumes(Filters=own))["Volumes"] == []


def _states(found: dict[str, Any]) -> list[str]:
    return [one["State"]["Name"] for r in found["Reservations"] for one in r["Instances"]]


async def test_a_timeout_ends_what_sudo_did_not_start(here: RunningServer) -> None:
    async with here.client() as client:
        await created(client, "trees")
        script = "setsid sleep 4321 & (trap '' TERM; exec sleep 4321) & sleep 4321"
        ran = await client.exec("trees", ExecRequest(command=["bash", "-c", script], timeout_secs=1))
        assert (ran.exit_code, ran.timed_out) == (124, True)
        left = await client.exec("trees", ExecRequest(command=["pgrep", "-f", "sleep 4321"]))
        assert left.stdout == ""


async def test_a_machine_with_another_host_key_is_refused(here: RunningServer) -> None:
    async with here.client() as client:
        await created(client, "swapped")
        script = (
            "sudo rm /etc/ssh/ssh_host_ed25519_key* && sudo ssh-keygen -q -t ed25519 -N '' "
            "-f /etc/ssh/ssh_host_ed25519_key && sudo systemctl restart ssh && sudo pkill -f 'sshd: ubuntu'"
        )
        with pytest.raises(GuestUnreachable):  # the command ends the very connection that it came through
            await client.exec("swapped", ExecRequest(command=["bash", "-c", script]))
        async with asyncio.timeout(30):
            while True:
                try:
                    await client.exec("swapped", ExecRequest(command=["true"]))
                except GuestUnreachable:
                    continue  # sshd is being started again
                except GuestFault as refused:
                    assert refused.code == "ssh_error"
                    assert "host key" in refused.message
                    break
        assert (await client.get_sandbox("swapped")).state is State.RUNNING


async def test_stop_and_start_keep_the_disk_and_take_the_new_address(here: RunningServer) -> None:
    async with here.client() as client:
        before = await created(client, "again", persistence="persistent")
        await client.exec("again", ExecRequest(command=["sh", "-c", "echo kept > file"]))
        await client.stop_sandbox("again")
        assert (await client.wait_until("again")).state is State.STOPPED
        await client.start_sandbox("again")
        after = await client.wait_until("again")
        assert after.state is State.RUNNING
        assert after.endpoint_url != before.endpoint_url
        assert (await client.exec("again", ExecRequest(command=["cat", "file"]))).stdout == "kept\n"
        await client.delete_sandbox("again")
        await client.wait_until("again")
