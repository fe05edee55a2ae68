"""What CIAB tells a new machine, read by real cloud-init before a real sshd starts."""

import asyncio
import gzip
import json

import asyncssh
import pytest

pytestmark = pytest.mark.image


async def test_a_new_machine_refuses_and_then_lets_us_in_and_nothing_else_in_between(region, client):
    order = region.order(client.data)
    await region.start(order)
    async with client.login(order.public_ip) as connection:
        # A wrong host key or a missing user key would have raised something else.
        assert client.met == ["ConnectionRefusedError"]
        done = await connection.run("id -un", check=True)
        assert str(done.stdout) == "ubuntu\n"
    assert await client.run(order.private_ip, "echo also here") == "also here"
    assert await region.refuses(order.public_ip, 22)


async def test_cloud_init_reads_all_of_it_without_a_complaint(region, client):
    order = region.order(client.data)
    await region.start(order)
    assert (await client.run(order.public_ip, "cloud-init status --wait")).endswith("status: done")
    warnings = "grep -cE 'WARN|ERROR|Traceback' /var/log/cloud-init.log || true"
    assert await client.run(order.public_ip, warnings) == "0"
    assert await client.run(order.public_ip, "systemctl --failed --plain --no-legend") == ""
    assert "cloud-init" in region.host.console(order.instance_id)
    # A restart of sshd in the boot would refuse those who come just then.
    starts = "sudo journalctl -u ssh.service --no-pager | grep -c 'Server listening on 0.0.0.0'"
    assert await client.run(order.public_ip, starts) == "1"


async def test_sshd_obeys_our_settings(region, client):
    order = region.order(client.data)
    await region.start(order)
    text = await client.run(order.public_ip, "cloud-init status --wait >/dev/null; sudo sshd -T")
    settings = dict(line.split(" ", 1) for line in text.splitlines())
    assert settings["port"] == "2222"
    assert settings["maxsessions"] == "64"
    assert settings["maxstartups"] == "64:30:128"
    assert settings["clientaliveinterval"] == "15"
    assert settings["passwordauthentication"] == "no"
    async with client.login(order.public_ip) as connection:  # more sessions than sshd's own ten
        sessions = [await connection.create_process("cat") for _ in range(40)]
        for number, session in enumerate(sessions):
            session.stdin.write(f"{number}\n")
            session.stdin.write_eof()
        said = [str((await session.wait()).stdout) for session in sessions]
    assert said == [f"{number}\n" for number in range(40)]


async def test_only_root_reads_what_we_sent(region, client):
    order = region.order(client.data)
    await region.start(order)
    where = "/etc/ssh/ssh_host_ed25519_key /var/lib/cloud/instance/user-data.txt*"
    readable = (
        f"for file in $(sudo sh -c 'ls {where}'); do cat $file >/dev/null 2>&1 && echo $file; done; true"
    )
    assert await client.run(order.public_ip, readable) == ""
    modes = await client.run(order.public_ip, f"sudo sh -c 'stat -c %U:%a {where}' | sort -u")
    assert modes == "root:600"
    keys = await client.run(order.public_ip, "ls /etc/ssh/ssh_host_*_key")
    assert keys == "/etc/ssh/ssh_host_ed25519_key"
    assert client.keys.host.private.reveal().splitlines()[2] not in region.host.console(order.instance_id)


async def test_another_user_than_the_images_own(region, agent_client):
    order = region.order(agent_client.data)
    await region.start(order)
    said = await agent_client.run(
        order.public_ip,
        "id -un; sudo id -un; cloud-init status --wait >/dev/null; cloud-init status; echo $SHELL",
    )
    assert said.splitlines() == ["agent", "root", "status: done", "/bin/bash"]
    assert await agent_client.run(order.public_ip, "sudo cat /home/ubuntu/.ssh/authorized_keys || true") == ""


async def test_gzipped_user_data(region, client):
    order = region.order(gzip.compress(client.data))
    await region.start(order)
    assert (
        await client.run(order.public_ip, "cloud-init status --wait >/dev/null; cloud-init status")
        == "status: done"
    )


async def test_a_wrong_key_is_denied_and_a_wrong_host_key_refused_by_us(region, client, agent_client):
    order = region.order(client.data)
    await region.start(order)
    await client.run(order.public_ip, "true")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await agent_client.connect(order.public_ip)


async def test_metadata_answers_as_ec2_does(region, client):
    order = region.order(client.data, public_key=client.keys.user.public)
    await region.start(order)
    base = "http://169.254.169.254/latest"
    token = await client.run(
        order.public_ip, f"curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {base}/api/token"
    )

    async def get(path: str, held: str = token) -> str:
        ask = f"curl -s -w '\\n%{{http_code}}' -H 'X-aws-ec2-metadata-token: {held}' {base}/{path}"
        return await client.run(order.public_ip, ask)

    assert await get("meta-data/instance-id", held="") == "401"
    assert await get("meta-data/instance-id", held="made-up") == "401"
    assert await get("meta-data/no-such-thing") == "404"
    assert await get("meta-data/instance-id") == f"{order.instance_id}\n200"
    assert await get("meta-data/public-ipv4") == f"{order.public_ip}\n200"
    assert await get("meta-data/placement/") == "availability-zone\nregion\n200"
    assert await get("meta-data/public-keys/") == "0=mine\n200"
    assert await get("meta-data/public-keys/0/openssh-key") == f"{client.keys.user.public.strip()}\n200"
    document, _, status = (await get("dynamic/instance-identity/document")).rpartition("\n")
    assert (json.loads(document)["region"], status) == ("eu-west-1", "200")


async def test_key_pair_of_ec2_opens_the_images_own_user(region, client):
    """Without user-data: the public key comes from the metadata, the host key is the machine's own."""
    order = region.order(None, public_key=client.keys.user.public)
    await region.start(order)
    while await region.refuses(order.public_ip, 22):
        await asyncio.sleep(0.05)
    trusted = await asyncssh.get_server_host_key(order.public_ip, 22, config=None)
    async with asyncssh.connect(
        order.public_ip,
        22,
        username="ubuntu",
        client_keys=[asyncssh.import_private_key(client.keys.user.private.reveal())],
        known_hosts=([trusted], [], []),
        config=None,
        agent_path=None,
    ) as connection:
        assert str((await connection.run("id -un", check=True)).stdout) == "ubuntu\n"
