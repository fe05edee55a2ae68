"""Machines with a dead-man's switch and the lives and deaths of their servers, in real seconds.

A boot costs seconds of CPU: laws that can share one do.
"""

import asyncio
import signal
from pathlib import Path

import pytest

from ciab.core.sandbox import Held
from ciab.core.states import State
from tests.integration.server.real import at_rest, created, instance, serving, sh
from tests.region import RunningRegion

pytestmark = [pytest.mark.image, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

LIMIT = 15
"""Seconds after which a machine that hears nothing ends itself."""
LONGER = LIMIT + 5.0

COUNT = (
    "setsid sh -c 'echo $$ > ~/pid; while :; do echo >> ~/count; sleep 0.1; done' "
    "</dev/null >/dev/null 2>&1 & "
    "until [ -s ~/count ]; do sleep 0.05; done"
)
COUNTS_ON = (
    "kill -0 $(cat ~/pid) && n=$(stat -c %s ~/count) && "
    "until [ $(stat -c %s ~/count) -gt $n ]; do sleep 0.05; done; echo on"
)


async def test_the_switch_ends_a_machine_only_when_its_server_stays_away(
    aws: RunningRegion, tmp_path: Path
) -> None:
    async with serving(tmp_path, aws, orphan_timeout_secs=LIMIT, stop_on_pause=False) as here:
        async with here.client() as client:
            info = await created(client, "lives")
            await sh(client, "lives", COUNT)
            # frozen for longer than the limit: the heart beats for it all the same
            await client.pause_sandbox("lives")
            assert (await at_rest(client, "lives", State.PAUSED)).held is Held.FROZEN
            await asyncio.sleep(LONGER)
            await client.resume_sandbox("lives")
            await at_rest(client, "lives", State.RUNNING)
            assert await sh(client, "lives", COUNTS_ON) == "on"

        here.kill()
        await asyncio.sleep(LIMIT / 5)
        here.start()  # back in time
        await asyncio.sleep(LONGER)
        async with here.client() as client:
            assert await sh(client, "lives", COUNTS_ON) == "on"

        assert here.end(signal.SIGUSR1) == 0  # as `ciab server stop --keep`
        await asyncio.sleep(LONGER)
        assert (await instance(aws, info))["State"]["Name"] == "running"
        here.start()
        async with here.client() as client:
            assert await sh(client, "lives", COUNTS_ON) == "on"

        await asyncio.sleep(LIMIT / 5)  # a heartbeat has set the switch again
        here.kill()  # and this time nobody comes back
        async with asyncio.timeout(120):
            while (found := await instance(aws, info))["State"]["Name"] != "terminated":
                await asyncio.sleep(0.5)
        assert found["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
        here.start()
        async with here.client() as client:
            ended = await client.wait_until("lives", {State.FAILED})
            assert ended.failure
            assert ended.failure.code == "machine_ended"
            assert "ended itself" in ended.failure.message
            assert "Powering off" in (ended.failure.console or "")


async def test_a_pause_for_longer_than_the_limit_keeps_files_and_identity_at_a_new_address(
    aws: RunningRegion, tmp_path: Path
) -> None:
    identity = "cat ~/workspace/mark; sudo cat /etc/ssh/ssh_host_ed25519_key.pub"
    async with serving(tmp_path, aws, orphan_timeout_secs=LIMIT) as here, here.client() as client:
        before = await created(client, "rests")
        await client.upload_file("rests", "~/workspace/mark", b"kept\n")
        told = await sh(client, "rests", identity)
        await client.pause_sandbox("rests")
        assert (await at_rest(client, "rests", State.PAUSED)).held is Held.STOPPED
        assert (await instance(aws, before))["State"]["Name"] == "stopped"
        await asyncio.sleep(LONGER)
        await client.resume_sandbox("rests")
        after = await at_rest(client, "rests", State.RUNNING)
        assert after.instance
        assert before.instance
        assert after.instance.id == before.instance.id
        assert after.instance.public_ip != before.instance.public_ip
        assert await sh(client, "rests", identity) == told
        await asyncio.sleep(LONGER)  # its switch is on again, and hears of the server
        assert await sh(client, "rests", "echo alive") == "alive"
        await client.delete_sandbox("rests")
        await client.wait_until(after.id)
