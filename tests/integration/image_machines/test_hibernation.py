"""Hibernation of machines with a real systemd: all of it goes on where it was, behind another address."""

import asyncio
from dataclasses import replace

import pytest

pytestmark = pytest.mark.image

_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
_COUNTER = "sudo systemd-run --unit=beats sh -c 'while :; do echo x >>/var/beats; sleep 0.02; done'"


async def test_processes_go_on_where_they_were(region, client):
    order = region.order(client.data)
    await region.start(order)
    before = await client.run(order.public_ip, f"{_COUNTER} 2>/dev/null; {_BOOT_ID}")
    pid = await client.run(order.public_ip, "systemctl show -P MainPID beats")
    beats = order.folder / "disk/var/beats"
    assert await region.host.hibernate(order.instance_id)
    assert await region.refuses(order.public_ip)
    assert await region.refuses(order.private_ip)
    size = beats.stat().st_size
    assert await region.host.hibernate(order.instance_id)

    again = replace(order, public_ip=region.address())
    await region.start(again)
    assert await client.run(again.public_ip, _BOOT_ID) == before
    assert await client.run(again.private_ip, "systemctl show -P MainPID beats") == pid
    async with asyncio.timeout(10):
        while beats.stat().st_size <= size:
            await asyncio.sleep(0.02)  # another machine's process: there is nothing else to wait for
    assert await region.refuses(order.public_ip)
    told = "T=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' 169.254.169.254/latest/api/token);"
    told += 'curl -sH "X-aws-ec2-metadata-token: $T" 169.254.169.254/latest/meta-data/public-ipv4'
    assert await client.run(again.public_ip, told) == again.public_ip
    assert region.ends == {}


async def test_a_hibernated_machine_can_be_ended(region, client):
    order = region.order(client.data)
    await region.start(order)
    await client.run(order.public_ip, "true")
    assert await region.host.hibernate(order.instance_id)
    async with asyncio.timeout(5):
        await region.host.destroy(order.instance_id)
    assert not order.folder.exists()
    assert region.ends == {}
    assert not await region.host.hibernate(order.instance_id)
