"""What ends a machine from inside, and what it is told before it is ended from outside."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from ciab.localec2.host import Notice

pytestmark = pytest.mark.image

# As a daemon of the boot: outside every session, started anew at each boot.
_WAITS = "setsid sh -c 'until [ -e /run/now ]; do sleep 0.05; done; {}' </dev/null >/dev/null 2>&1 &"
_IMDS = (
    "T=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' 169.254.169.254/latest/api/token); "
    'curl -so /dev/stdout -w " %{{http_code}}" -H "X-aws-ec2-metadata-token: $T" '
    "169.254.169.254/latest/meta-data/{}"
)


@pytest.mark.parametrize("command", ["/sbin/shutdown -P now", "poweroff", "shutdown -h now"])
async def test_a_daemon_of_the_boot_can_switch_its_machine_off_at_any_boot(region, client, command):
    document = json.loads(client.data.partition(b"\n")[2]) | {"bootcmd": [_WAITS.format(command)]}
    order = region.order(b"#cloud-config\n" + json.dumps(document).encode())
    for _ in range(2):
        await region.start(order)
        await client.run(order.public_ip, "cloud-init status --wait >/dev/null; sudo touch /run/now")
        async with asyncio.timeout(20):
            await region.ended.wait()
        region.ended.clear()
        assert region.ends.pop(order.instance_id) == 0
        assert await region.refuses(order.public_ip)
    assert "Powering off" in region.host.console(order.instance_id)


async def test_a_spot_machine_reads_when_it_is_taken_back(region, client):
    order = region.order(client.data)
    await region.start(order)
    nothing = (await client.run(order.public_ip, _IMDS.format("spot/instance-action"))).split()
    assert nothing[-1] == "404"
    await region.host.announce(
        order.instance_id, Notice("terminate", datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC))
    )
    text, code = (await client.run(order.public_ip, _IMDS.format("spot/instance-action"))).rsplit(" ", 1)
    assert code == "200"
    assert json.loads(text) == {"action": "terminate", "time": "2031-05-06T07:08:09Z"}
    await region.host.announce("i-never-heard-of", Notice("terminate", datetime.now(UTC)))
