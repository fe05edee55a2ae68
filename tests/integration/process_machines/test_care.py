"""What the control plane does inside machines made of processes: pulses, a freeze, the dead-man's switch."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from ciab.adapters.ec2.userdata import user_data
from ciab.core.guest import Target
from ciab.core.ids import SandboxId
from ciab.core.machine import KeyPair
from ciab.core.secret import Secret
from ciab.localec2.process.host import ProcessHost
from ciab.localec2.process.trees import descendants
from tests.contract.test_care_contract import (  # noqa: F401 - the same for these machines
    test_a_frozen_machine_has_a_pulse_and_can_be_disarmed,
    test_a_frozen_machine_is_reached_by_a_new_connection,
    test_a_switch_that_is_off_is_on_again_with_the_next_pulse,
    test_every_pulse_is_felt,
    test_freezing_and_thawing_twice_is_as_once,
    test_many_at_once,
    test_the_first_pulse_of_a_boot_tells_of_no_time_and_the_next_of_some,
    test_what_is_frozen_stands_still_until_it_is_thawed,
)
from tests.insides import Cared, cared_over_ssh
from tests.integration.process_machines.launching import (
    HOST_KEY,
    PORT,
    USER_KEY,
    Launched,
    connect,
    launch,
    order,
    public_line,
)

LIMIT = 3
"""Seconds after which a forgotten machine ends itself."""


def told(orphan_secs: int) -> bytes:
    pair = KeyPair(public_line(HOST_KEY), Secret(HOST_KEY.export_private_key().decode()))
    return user_data(pair, public_line(USER_KEY), "ubuntu", PORT, orphan_secs).encode()


@asynccontextmanager
async def caring(machine: Launched) -> AsyncIterator[Cared]:
    (await connect(machine.order.private_ip)).close()  # it has booted
    target = Target(
        SandboxId(str(uuid4())),
        machine.order.private_ip,
        PORT,
        "ubuntu",
        public_line(HOST_KEY),
        Secret(USER_KEY.export_private_key().decode()),
    )
    isolated = machine.host.isolation == "bubblewrap"
    folder = Path("/var") if isolated else machine.order.folder / "var"
    async with cared_over_ssh(target, str(folder / "lib/ciab/heartbeat")) as opened:
        yield opened


@pytest.fixture
async def cared(host: ProcessHost, tmp_path: Path) -> AsyncIterator[Cared]:
    machine = await launch(host, order(tmp_path, data=told(3600)))
    async with caring(machine) as opened:
        yield opened


async def beating(cared: Cared, seconds: float) -> None:
    """Pulses for so long, each well in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await cared.care.pulse()
        await asyncio.sleep(LIMIT / 6)  # the time between two pulses is what is tested


async def ended(machine: Launched, within: float = 5 * LIMIT) -> bool:
    """Whether it ends by itself."""
    done, _ = await asyncio.wait([machine.ended], timeout=within)
    return bool(done)


def name_of(pid: int) -> str:
    with suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


async def test_a_machine_of_which_nobody_thinks_ends_itself(host: ProcessHost, tmp_path: Path) -> None:
    machine = await launch(host, order(tmp_path, data=told(LIMIT)))
    async with caring(machine) as cared:
        await beating(cared, 2 * LIMIT)
        assert not machine.ended.done()
    assert await ended(machine)
    assert machine.ended.result() == 0
    assert "nothing was heard of the control plane for 3 s" in host.console("i-0a")


async def test_a_frozen_machine_ends_itself_too(host: ProcessHost, tmp_path: Path) -> None:
    machine = await launch(host, order(tmp_path, data=told(LIMIT)))
    async with caring(machine) as cared:
        await cared.care.freeze()
        await beating(cared, 2 * LIMIT)
        assert not machine.ended.done()
    assert await ended(machine)


async def test_a_disarmed_machine_lives_on_over_a_stop_and_start(host: ProcessHost, tmp_path: Path) -> None:
    machine = await launch(host, order(tmp_path, data=told(LIMIT)))
    async with caring(machine) as cared:
        await cared.care.disarm()
    assert not await ended(machine, within=1.5 * LIMIT)
    await machine.stop()
    assert machine.order.public_ip is not None
    await machine.start_again(machine.order.public_ip)
    assert not await ended(machine, within=1.5 * LIMIT)


async def test_a_stop_for_longer_than_the_limit_counts_for_nothing_and_the_switch_is_on_after_it(
    host: ProcessHost, tmp_path: Path
) -> None:
    machine = await launch(host, order(tmp_path, data=told(LIMIT)))
    async with caring(machine) as cared:
        before = await cared.care.pulse()
    await machine.stop()
    await asyncio.sleep(LIMIT + 0.5)  # this is the time that must not count
    assert machine.order.public_ip is not None
    await machine.start_again(machine.order.public_ip)
    async with caring(machine) as cared:
        assert (await cared.care.pulse()).boot != before.boot
        await beating(cared, LIMIT)
        assert not machine.ended.done()
    assert await ended(machine)


async def test_a_guardian_that_is_killed_comes_back(
    host: ProcessHost, tmp_path: Path, others: set[int]
) -> None:
    machine = await launch(host, order(tmp_path, data=told(LIMIT)))
    async with caring(machine):
        guardians = [pid for pid in descendants(os.getpid()) - others if name_of(pid) == "ciab-guardian"]
        assert len(guardians) == 2
        os.kill(max(guardians), signal.SIGKILL)  # the other one starts it
    assert await ended(machine)
