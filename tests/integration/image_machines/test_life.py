"""Stop, start, poweroff, reboot and destroy of machines with a real systemd, and what keeps them apart."""

import asyncio
from dataclasses import replace

import pytest

from ciab.localec2.host import MachineError

pytestmark = pytest.mark.image

_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


async def test_stop_and_start_keep_disk_and_identity_and_take_a_new_public_address(region, client):
    order = region.order(client.data)
    await region.start(order)
    await client.run(order.public_ip, "echo kept > ~/note; echo gone | sudo tee /run/note")
    first_boot = await client.run(order.public_ip, _BOOT_ID)
    await region.host.stop(order.instance_id)
    assert await region.refuses(order.public_ip)
    assert await region.refuses(order.private_ip)

    again = replace(order, public_ip=region.address())
    await region.start(again)
    said = await client.run(
        again.public_ip,
        "cat ~/note; ls /run/note || echo no note; cloud-init status --wait >/dev/null; cloud-init status",
    )
    assert said.splitlines() == ["kept", "no note", "status: done"]
    assert await region.refuses(order.public_ip)
    assert await client.run(again.private_ip, _BOOT_ID) != first_boot
    assert region.ends == {}


async def test_stop_lets_services_end_in_order(region, client):
    order = region.order(client.data)
    await region.start(order)
    unit = "[Service]\\nExecStart=/bin/sleep infinity\\nExecStop=/bin/touch /var/stopped-in-order\\n"
    await client.run(
        order.public_ip,
        f"printf '{unit}' | sudo tee /etc/systemd/system/late.service; sudo systemctl start late.service",
    )
    await region.host.stop(order.instance_id)
    assert (order.folder / "disk/var/stopped-in-order").exists()


async def test_forced_stop_ends_a_machine_that_will_not(region, client):
    order = region.order(client.data)
    await region.start(order)
    await client.run(order.public_ip, "sudo systemd-run sh -c 'trap \"\" TERM; sleep infinity'")
    async with asyncio.timeout(3):
        await region.host.stop(order.instance_id, force=True)
    assert await region.refuses(order.public_ip)


async def test_stop_right_after_start(region, client):
    order = region.order(client.data)
    await region.start(order)
    async with asyncio.timeout(8):  # less than a stop's bound: the shutdown was an orderly one
        await region.host.stop(order.instance_id)
    assert region.ends == {}
    await region.start(order)
    assert await client.run(order.public_ip, "echo up") == "up"


async def test_poweroff_inside_ends_the_machine_and_says_so(region, client):
    order = region.order(client.data)
    await region.start(order)
    await client.run(order.public_ip, "sudo systemctl poweroff --no-block")
    async with asyncio.timeout(20):
        await region.ended.wait()
    assert region.ends == {order.instance_id: 0}
    assert await region.refuses(order.public_ip)
    await region.start(order)
    assert await client.run(order.public_ip, "echo up") == "up"


async def test_reboot_inside_boots_the_same_instance_again(region, client):
    order = region.order(client.data)
    await region.start(order)
    await client.run(
        order.public_ip, "sudo touch /run/before; touch ~/before; sudo systemctl reboot --no-block"
    )
    while not await region.refuses(order.public_ip):
        await asyncio.sleep(0.02)
    said = await client.run(
        order.public_ip,
        "ls ~/before /run/before 2>/dev/null; cloud-init status --wait >/dev/null; cloud-init status",
    )
    assert said.splitlines() == ["/home/ubuntu/before", "status: done"]
    assert region.ends == {}


async def test_kill_everything_inside_leaves_other_machines_alone(region, client, agent_client):
    one, other = region.order(client.data), region.order(agent_client.data)
    await asyncio.gather(region.start(one), region.start(other))
    async with client.login(one.public_ip) as connection:
        await connection.run("sudo sh -c 'kill -9 -1'")
    assert await agent_client.run(other.public_ip, "id -un") == "agent"
    assert await client.run(one.public_ip, "echo sshd is back") == "sshd is back"


async def test_two_machines_share_nothing_and_reach_nothing(region, client, agent_client):
    one, other = region.order(client.data), region.order(agent_client.data)
    await asyncio.gather(region.start(one), region.start(other))
    await client.run(one.public_ip, "touch /var/tmp/mine")
    assert await agent_client.run(other.public_ip, "ls /var/tmp/mine 2>/dev/null || echo none") == "none"
    names = [await client.run(one.public_ip, "hostname"), await agent_client.run(other.public_ip, "hostname")]
    assert names[0] != names[1]
    here = await asyncio.start_server(lambda _reader, writer: writer.close(), "0.0.0.0", 0)
    async with here:
        port = here.sockets[0].getsockname()[1]
        for target in ("192.0.2.1:80", f"127.0.0.1:{port}", f"10.0.0.1:{port}"):
            tried = f"curl -sm 3 telnet://{target} </dev/null; echo $?"
            assert await client.run(one.public_ip, tried) == "7"  # could not connect, at once


async def test_a_port_is_open_only_while_the_machine_listens(region, client):
    order = region.order(client.data)
    await region.start(order)
    assert await region.refuses(order.public_ip, 8080)
    serve = "python3 -m http.server 8080 --directory /etc/cloud >/dev/null 2>&1"
    async with client.login(order.public_ip) as connection:
        server = await connection.create_process(f"exec {serve}")
        while await region.refuses(order.public_ip, 8080):
            await asyncio.sleep(0.02)
        server.kill()
        await server.wait()
        while not await region.refuses(order.public_ip, 8080):
            await asyncio.sleep(0.02)


async def test_destroy_leaves_no_folder(region, client):
    order = region.order(client.data)
    await region.start(order)
    await client.run(order.public_ip, "true")
    await region.host.destroy(order.instance_id)
    assert not order.folder.exists()
    assert await region.refuses(order.public_ip)
    await region.host.destroy(order.instance_id)
    await region.host.stop("i-never-heard-of")


async def test_a_machine_that_cannot_boot_says_why_and_leaves_nothing(region, client):
    order = replace(region.order(client.data), folder=region.folder / "a,b=c")
    with pytest.raises(MachineError, match=r"could not be booted: .*overlay"):
        await region.start(order)
    with pytest.raises(MachineError, match="running already"):
        good = region.order(client.data)
        await region.start(good)
        await region.start(good)
