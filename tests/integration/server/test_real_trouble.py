"""Named key pairs, silent machines, spot interruptions and failures, on machines that boot as EC2's do."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import httpx
import pytest

from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.events import StreamEvent
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.integration.server.real import at_rest, config, created, instance, serving, sh
from tests.region import RunningRegion

pytestmark = [pytest.mark.image, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

SILENT_ONCE = b"""
cat > /usr/local/sbin/may-speak <<'END'
#!/bin/sh
[ -e /run/silent ] && exit 1
[ -e /var/lib/spoke ] || { touch /run/silent /var/lib/spoke; exit 1; }
END
chmod 755 /usr/local/sbin/may-speak
mkdir -p /etc/systemd/system/ssh.service.d
printf '[Service]\\nExecCondition=/usr/local/sbin/may-speak\\n' \\
    > /etc/systemd/system/ssh.service.d/silent.conf
"""
"""In one boot sshd does not start, in those after it it does."""


async def test_a_named_key_pair_and_a_machine_that_once_does_not_answer(
    aws: RunningRegion, tmp_path: Path
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode().strip()
    pem = tmp_path / "home/.ssh/mine.pem"
    pem.parent.mkdir(parents=True, mode=0o700)
    pem.write_bytes(key.export_private_key("openssh"))
    pem.chmod(0o600)
    async with aws.client("ec2") as ec2:
        await ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=public.encode())

    async with serving(tmp_path, aws, tmp_path / "home", key_pair_name="mine") as here:
        async with here.client() as client:
            info = await created(client, "mine", persistence=Persistence.PERSISTENT)
            assert (await instance(aws, info))["KeyName"] == "mine"
            let_in = (await sh(client, "mine", "cat ~/.ssh/authorized_keys")).splitlines()
            assert {line.split()[1] for line in let_in} == {public.split()[1]}
            await client.upload_file("mine", "~/mark", b"kept")
            await client.upload_file("mine", "~/silent", SILENT_ONCE)
            await sh(client, "mine", "sudo sh ~/silent")
            await client.stop_sandbox("mine")
            await at_rest(client, "mine", State.STOPPED)

        here.kill()
        here.config = config(aws, key_pair_name="mine", ssh_timeout_secs=2)
        here.start()
        async with here.client() as client:
            await client.start_sandbox("mine")
            failed = await at_rest(client, "mine", State.STOPPED)
            assert failed.failure
            assert (failed.failure.step, failed.failure.code) == ("start_machine", "guest_unreachable")
            assert failed.failure.hint
            assert (await instance(aws, info))["State"]["Name"] == "stopped"

        here.kill()
        here.config = config(aws, key_pair_name="mine")
        here.start()
        async with here.client() as client:
            await client.start_sandbox("mine")
            assert (await at_rest(client, "mine", State.RUNNING)).failure is None
            assert await sh(client, "mine", "cat ~/mark") == "kept"
            await client.delete_sandbox("mine")
            await client.wait_until(info.id)


async def test_an_interruption_is_announced_answered_and_told_and_failures_show_cloud_inits_log(
    aws: RunningRegion, tmp_path: Path
) -> None:
    grace = ["bash", "-c", "echo saved > ~/workspace/last-words"]
    async with serving(tmp_path, aws, spot=True) as here, here.client() as client:
        script = "echo about to fail; exit 3"
        wish = SandboxSpec(agent_provider="command", name="fails", provisioning_scripts=[script])
        failing = await client.create_sandbox(wish)
        info = await created(client, "spot", ec2={"spot_grace_command": grace})
        assert info.instance
        assert info.instance.spot
        assert (await instance(aws, info))["InstanceLifecycle"] == "spot"

        async with httpx.AsyncClient(base_url=aws.endpoint, trust_env=False) as http:
            asked = {"instance": info.instance.id, "secs": 30}
            at = (await http.post("/_ciab/interrupt", json=asked)).raise_for_status().json()["time"]
        warnings = [event async for event in until_two_warnings(client, info.id)]
        assert [event.data["code"] for event in warnings] == ["spot_interruption", "spot_grace_command"]
        assert at in warnings[0].data["message"]
        assert "ended with 0" in warnings[1].data["message"]
        assert await sh(client, "spot", "cat ~/workspace/last-words") == "saved"

        ended = await client.wait_until(info.id, {State.FAILED})
        assert ended.failure
        assert ended.failure.code == "spot_interrupted"
        assert ended.failure.hint

        failed = (await client.wait_until(failing.id)).failure
        assert failed
        assert (failed.step, failed.code) == ("run_scripts", "command_failed")
        assert "Cloud-init" in (failed.cloud_init or "")
        assert "systemd" in (failed.console or "").lower()


async def until_two_warnings(client: Client, sandbox: str) -> AsyncIterator[StreamEvent]:
    left = 2
    async for event in client.events(sandbox):
        if event.event_type == "sandbox_warning":
            yield event
            left -= 1
        if not left:
            return
