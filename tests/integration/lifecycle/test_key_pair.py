"""`key_pair_name`: the operator's own key lets us in and is kept nowhere; the host key is pinned."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from ciab.core.errors import ConfigError
from ciab.core.states import State
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, shell, spec
from tests.server import RunningServer, server

PAIR = "operator"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Where the key belongs, in a home of its own."""
    (tmp_path / "home/.ssh").mkdir(parents=True)
    return tmp_path / f"home/.ssh/{PAIR}.pem"


@pytest.fixture
async def here(tmp_path: Path, private: Path) -> AsyncIterator[RunningServer]:
    settings = config({"key_pair_name": PAIR}, server={"watch_interval_secs": 60})
    home = {"HOME": str(private.parent.parent)}
    async with server(tmp_path / "server", settings, environment=home) as running:
        yield running


async def with_another_host_key(ec2: Any, instance_id: str) -> bytes:
    """Let the machine, which is stopped, boot as somebody else; the user-data as it was."""
    asked = {"InstanceId": instance_id, "Attribute": "userData"}
    encoded = (await ec2.describe_instance_attribute(**asked))["UserData"]["Value"]
    before = base64.b64decode(encoded)
    told = json.loads(before.decode().partition("\n")[2])
    other = asyncssh.generate_private_key("ssh-ed25519")
    told["ssh_keys"] = {
        "ed25519_private": other.export_private_key().decode(),
        "ed25519_public": other.export_public_key().decode(),
    }
    changed = b"#cloud-config\n" + json.dumps(told).encode()
    await ec2.modify_instance_attribute(InstanceId=instance_id, UserData={"Value": changed})
    return before


async def test_the_operators_key_pair(here: RunningServer, private: Path) -> None:
    key = asyncssh.generate_private_key("ssh-rsa")
    text = key.export_private_key("pkcs1-pem")
    async with here.client() as client, acting.ec2_of(here) as ec2:
        await ec2.import_key_pair(KeyName=PAIR, PublicKeyMaterial=key.export_public_key("openssh"))

        with pytest.raises(ConfigError, match=f"{PAIR}.pem: No such file") as missing:
            await client.create_sandbox(spec("none"))
        assert "key_pair_name" in (missing.value.hint or "")
        private.write_bytes(text)
        private.chmod(0o640)
        with pytest.raises(ConfigError, match="can be read or changed by other users") as open_to_all:
            await client.create_sandbox(spec("none"))
        assert open_to_all.value.hint == f"chmod 600 {private}"
        assert await client.list_sandboxes() == []
        assert await acting.count_of(here, "RunInstances") == 0

        private.chmod(0o600)
        (info,) = await acting.running(client, spec("box"))
        assert await shell(client, "box", "echo in; echo kept > ~/kept") == "in"
        assert (await acting.described(ec2, instance_of(info)))["KeyName"] == PAIR
        assert [one["KeyName"] for one in await acting.requests(here, "RunInstances")] == [PAIR]
        line = text.splitlines()[3]
        for file in (*here.database.parent.glob("ciab.db*"), here.folder / "server.log"):
            assert line not in file.read_bytes(), file

        await client.stop_sandbox("box")
        await becomes(client, "box", State.STOPPED)
        before = await with_another_host_key(ec2, instance_of(info))
        await client.start_sandbox("box")
        refused = (await becomes(client, "box", State.STOPPED)).failure
        assert refused is not None
        assert (refused.step, refused.code) == ("start_machine", "ssh_error")
        assert "host key" in refused.message
        await acting.reaches(ec2, instance_of(info), "stopped")

        await ec2.modify_instance_attribute(InstanceId=instance_of(info), UserData={"Value": before})
        await client.start_sandbox("box")
        assert (await becomes(client, "box", State.RUNNING, State.STOPPED)).state is State.RUNNING
        assert await shell(client, "box", "cat ~/kept") == "kept"
