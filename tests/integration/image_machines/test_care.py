"""The dead-man's switch, pulses and a freeze on machines with real systemd, cloud-init, sshd and sudo."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest

from ciab.core.errors import GuestFault
from ciab.core.guest import Command, Target
from ciab.core.ids import SandboxId
from ciab.localec2.host import MachineOrder
from tests.contract.test_care_contract import (  # noqa: F401 - the same for these machines
    test_a_frozen_machine_has_a_pulse_and_can_be_disarmed,
    test_a_frozen_machine_is_reached_by_a_new_connection,
    test_a_switch_that_is_off_is_on_again_with_the_next_pulse,
    test_freezing_and_thawing_twice_is_as_once,
    test_many_at_once,
    test_the_first_pulse_of_a_boot_tells_of_no_time_and_the_next_of_some,
    test_what_is_frozen_stands_still_until_it_is_thawed,
)
from tests.insides import Cared, cared_over_ssh
from tests.integration.image_machines.conftest import SSH_PORT, Client, Region

pytestmark = pytest.mark.image

LIMIT = 6
"""Seconds after which a forgotten machine ends itself; a boot takes two to three."""
STATE = "ps -o state= -p"


@asynccontextmanager
async def caring(client: Client, order: MachineOrder) -> AsyncIterator[Cared]:
    assert client.keys.user
    assert order.public_ip
    await client.run(order.public_ip, "true")  # it has booted
    user_key, host_key = client.keys.user.private, client.keys.host.public
    target = Target(
        SandboxId(str(uuid4())), order.public_ip, SSH_PORT, client.user, host_key.strip(), user_key
    )
    async with cared_over_ssh(target, "/var/lib/ciab/heartbeat") as opened:
        yield opened


@pytest.fixture
async def cared(region: Region, client: Client) -> AsyncIterator[Cared]:
    order = region.order(client.data_with(orphan_secs=3600))
    await region.start(order)
    async with caring(client, order) as opened:
        yield opened


async def beating(cared: Cared, seconds: float) -> None:
    """Pulses for so long, each well in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await cared.care.pulse()
        await asyncio.sleep(LIMIT / 6)  # the time between two pulses is what is tested


async def ends(region: Region, within: float = 5 * LIMIT) -> bool:
    try:
        async with asyncio.timeout(within):
            return await region.ended.wait()
    except TimeoutError:
        return False


async def sh(cared: Cared, script: str) -> str:
    ran = await cared.guest.run(Command(("bash", "-c", script)), limit_bytes=10_000)
    assert ran.exit_code == 0, ran.stderr
    return ran.stdout.decode().strip()


async def test_a_machine_of_which_nobody_thinks_ends_itself(region: Region, client: Client) -> None:
    order = region.order(client.data_with(orphan_secs=LIMIT))
    await region.start(order)
    async with caring(client, order) as cared:
        await beating(cared, 2 * LIMIT)
        assert not region.ends
    assert await ends(region)
    assert region.ends == {order.instance_id: 0}
    assert "nothing was heard of the control plane for 6 s" in region.host.console(order.instance_id)


async def test_a_frozen_machine_ends_itself_too(region: Region, client: Client) -> None:
    order = region.order(client.data_with(orphan_secs=LIMIT))
    await region.start(order)
    async with caring(client, order) as cared:
        await cared.care.freeze()
        await beating(cared, 2 * LIMIT)
        assert not region.ends
    assert await ends(region)


async def test_a_disarmed_machine_lives_on_over_a_stop_and_start(region: Region, client: Client) -> None:
    order = region.order(client.data_with(orphan_secs=LIMIT))
    await region.start(order)
    async with caring(client, order) as cared:
        await cared.care.disarm()
    assert not await ends(region, within=1.5 * LIMIT)
    await region.host.stop(order.instance_id)
    await region.start(order)
    assert not await ends(region, within=2 * LIMIT)


async def test_a_stop_for_longer_than_the_limit_counts_for_nothing_and_the_switch_is_on_after_it(
    region: Region, client: Client
) -> None:
    order = region.order(client.data_with(orphan_secs=LIMIT))
    await region.start(order)
    async with caring(client, order) as cared:
        before = await cared.care.pulse()
    await region.host.stop(order.instance_id)
    await asyncio.sleep(LIMIT + 0.5)  # this is the time that must not count
    again = replace(order, public_ip=region.address())
    await region.start(again)
    async with caring(client, again) as cared:
        assert (await cared.care.pulse()).boot != before.boot
        await beating(cared, LIMIT)
        assert not region.ends
    assert await ends(region)


async def test_the_switch_is_a_service_that_comes_back_and_cloud_init_has_no_complaint(
    region: Region, agent_client: Client
) -> None:
    order = region.order(agent_client.data_with(orphan_secs=3600))
    await region.start(order)
    async with caring(agent_client, order) as cared:
        assert (await sh(cared, "cloud-init status --wait")).endswith("status: done")
        assert await sh(cared, "grep -cE 'WARN|ERROR|Traceback' /var/log/cloud-init.log || true") == "0"
        await cared.care.pulse()
        assert (
            await sh(cared, "stat -c %U:%a /var/lib/ciab /var/lib/ciab/heartbeat") == "agent:755\nagent:600"
        )
        pid = "systemctl show -p MainPID --value ciab-guardian"
        first = await sh(cared, pid)
        await sh(cared, f"sudo kill -9 {first}; sudo rm -r /var/lib/ciab")
        again = f"until p=$({pid}); [ $p != 0 ] && [ $p != {first} ] && [ -e /var/lib/ciab/heartbeat ]; "
        await sh(cared, again + "do sleep 0.1; done")
        await cared.care.pulse()
        assert await cared.felt() != ""


async def test_a_freeze_stops_what_sudo_started_and_jobs_and_leaves_the_machine_alone(
    cared: Cared,
) -> None:
    start = (
        "setsid sudo -n sleep 4001 </dev/null >/dev/null 2>&1 & "
        "setsid sleep 4002 </dev/null >/dev/null 2>&1 & "
        "setsid sleep 4003 </dev/null >/dev/null 2>&1 & "
        "until pkill -STOP -fx 'sleep 4003'; do sleep 0.01; done; "
        "systemd-run --user --quiet sleep 4004; "
        "until [ $(pgrep -fxc '(.*/)?sleep 400[1-4]') = 4 ]; do sleep 0.05; done"
    )
    await sh(cared, start)
    states = "for n in 1 2 3 4; do ps -o state= -p $(pgrep -fx \"(.*/)?sleep 400$n\"); done | tr -d '\\n'"
    assert await sh(cared, states) == "SSTS"
    await cared.care.freeze()
    assert await sh(cared, states) == "TTTT"
    stopped = "ps -eo state=,user=,comm= | grep '^T' | grep -v sleep | grep -v sudo || true"
    assert await sh(cared, stopped) == ""
    assert await sh(cared, "systemctl is-active ciab-guardian ssh user@1000 | uniq") == "active"
    await cared.care.thaw()
    assert await sh(cared, states) == "SSTS"


async def test_new_processes_do_not_get_away_from_a_freeze(cared: Cared) -> None:
    spawn = "while :; do (sleep 4005 & sleep 0.001; kill $!) ; done"
    await sh(cared, f"for n in 1 2 3; do setsid bash -c '{spawn}' </dev/null >/dev/null 2>&1 & done")
    for _ in range(5):
        await cared.care.freeze()
        moving = "ps -eo state=,user=,pid=,args= | awk '$2 == \"ubuntu\" && $1 !~ /[TZ]/'"
        left = await sh(cared, f"{moving} | grep -E 'setsid|4005|sleep' | grep -vE 'ps -eo|awk|grep' || true")
        assert left == ""
        assert int(await sh(cared, "pgrep -fc '[s]leep 4005'")) >= 3
        await cared.care.thaw()


async def test_a_freeze_that_cannot_reach_all_says_so_and_stops_nobody(cared: Cared) -> None:
    start = (
        "setsid sudo -n sleep 4006 </dev/null >/dev/null 2>&1 & "
        "setsid sleep 4007 </dev/null >/dev/null 2>&1 & "
        "until [ $(pgrep -fxc 'sleep 400[67]') = 2 ]; do sleep 0.05; done; "
        "sudo rm /etc/sudoers.d/90-cloud-init-users"
    )
    await sh(cared, start)
    with pytest.raises(GuestFault, match=r"out of reach were .*sleep") as caught:
        await cared.care.freeze()
    assert caught.value.hint is not None and "sudo" in caught.value.hint
    assert await sh(cared, "ps -o state= -C sleep | sort -u") == "S"


async def test_a_freeze_of_another_boot_is_forgotten(cared: Cared) -> None:
    await sh(cared, "setsid sleep 4008 </dev/null >/dev/null 2>&1 & until pgrep -fx 'sleep 4008'; do :; done")
    await cared.care.freeze()
    await sh(cared, """sed -i 's/"boot": "[^"]*"/"boot": "another"/' ~/.ciab/frozen""")
    await cared.care.thaw()
    assert await sh(cared, "ps -o state= -C sleep") == "T"
