"""The region's process: one per folder, its state outlives it, its machines do not."""

import asyncio
import base64
import json
import signal
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.local_region.ask import every, launcher, tagged, ubuntu, until
from tests.integration.local_region.shell import Login, refuses
from tests.region import RunningRegion, region


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with region(tmp_path / "region") as running:
        yield running


async def launched(here: RunningRegion, state: str = "running", **more: Any) -> dict[str, Any]:
    async with here.client("ec2") as ec2:
        instance = await launcher(ec2, await ubuntu(here))(**more)
        return await until(ec2, instance["InstanceId"], state)


def runs(command: str) -> bool:
    """Whether some process on this host has that command line."""
    wanted = command.replace(" ", "\0").encode() + b"\0"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == wanted:
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


async def all_of(here: RunningRegion) -> dict[str, dict[str, Any]]:
    async with here.client("ec2") as ec2:
        return {instance["InstanceId"]: instance for instance in await every(ec2)}


async def test_after_kill_9_instances_are_stopped_and_their_machines_gone(alone: RunningRegion) -> None:
    login = Login()
    running = await launched(alone, UserData=login.user_data, TagSpecifications=tagged(Name="ciab-one"))
    over = await launched(alone)
    async with alone.client("ec2") as ec2:
        await ec2.terminate_instances(InstanceIds=[over["InstanceId"]])
        await until(ec2, over["InstanceId"], "terminated")
    left_behind = f"sleep 10{alone.pid}"
    await login.run(running["PublicIpAddress"], f"echo kept > note; setsid {left_behind} > /dev/null 2>&1 &")
    async with asyncio.timeout(5):
        while not runs(left_behind):
            await asyncio.sleep(0.02)  # the shell does not wait for it
    port = alone.endpoint
    alone.kill()
    async with asyncio.timeout(5):
        while runs(left_behind) or not await refuses(running["PublicIpAddress"]):
            await asyncio.sleep(0.02)  # the machine notices its parent's death
    alone.start()
    assert alone.endpoint == port
    instances = await all_of(alone)
    assert instances[over["InstanceId"]]["State"]["Name"] == "terminated"
    found = instances[running["InstanceId"]]
    assert found["State"]["Name"] == "stopped"
    assert found["StateReason"]["Code"] == "Server.ScheduledStop"
    assert "PublicIpAddress" not in found
    for kept in ("PrivateIpAddress", "Tags", "ImageId", "SubnetId", "InstanceType"):
        assert found[kept] == running[kept]
    async with alone.client("ec2") as ec2:
        await ec2.start_instances(InstanceIds=[running["InstanceId"]])
        again = await until(ec2, running["InstanceId"], "running")
    assert await login.run(again["PublicIpAddress"], "cat note") == "kept"


async def test_an_instance_that_was_ending_has_ended_after_a_kill(alone: RunningRegion) -> None:
    await alone.set_faults(shutting_down_secs=60)
    instance = await launched(alone)
    async with alone.client("ec2") as ec2:
        await ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    alone.kill()
    alone.start()
    assert (await all_of(alone))[instance["InstanceId"]]["State"]["Name"] == "terminated"
    assert list((alone.folder / "machines").iterdir()) == []


async def test_a_disk_from_an_earlier_process_goes_with_its_instance(alone: RunningRegion) -> None:
    instance = await launched(alone)
    alone.kill()
    alone.start()
    async with alone.client("ec2") as ec2:
        await ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
        await until(ec2, instance["InstanceId"], "terminated")
    assert list((alone.folder / "machines").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_orderly_end_stops_all_machines(alone: RunningRegion, number: int) -> None:
    instance = await launched(alone)
    assert json.loads((alone.folder / "endpoint.json").read_text())["pid"] == alone.pid
    assert alone.end(number) == 0
    assert await refuses(instance["PublicIpAddress"])
    assert not (alone.folder / "endpoint.json").exists()
    alone.start()
    assert (await all_of(alone))[instance["InstanceId"]]["State"]["Name"] == "stopped"


async def test_a_second_process_on_the_folder_is_refused(alone: RunningRegion) -> None:
    second = await asyncio.to_thread(
        subprocess.run, alone.command(), capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    assert f"process {alone.pid}" in second.stderr
    await alone.health()


async def test_user_data_is_private_and_goes_with_the_instance(alone: RunningRegion) -> None:
    def on_disk(text: bytes) -> bool:
        return any(text in path.read_bytes() for path in alone.folder.rglob("*") if path.is_file())

    login = Login()
    instance = await launched(alone, UserData=login.user_data)
    for path in (alone.folder, alone.folder / "regions", alone.folder / "machines"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    state = alone.folder / "regions" / "us-east-1.pickle"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    kept = base64.b64encode(login.user_data.encode())[100:160]
    assert kept in state.read_bytes()
    async with alone.client("ec2") as ec2:
        await ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
        await until(ec2, instance["InstanceId"], "terminated")
    assert not on_disk(kept)
    assert not on_disk(b"BEGIN OPENSSH PRIVATE KEY")


async def test_two_regions_on_one_machine_share_no_address(alone: RunningRegion, tmp_path: Path) -> None:
    async with region(tmp_path / "other") as other:
        first, second = await launched(alone), await launched(other)
        addresses = [i[key] for i in (first, second) for key in ("PrivateIpAddress", "PublicIpAddress")]
        assert len(set(addresses)) == 4
        assert set(await all_of(alone)) == {first["InstanceId"]}


async def test_it_ends_itself_when_nobody_calls(tmp_path: Path) -> None:
    async with region(tmp_path / "region", arguments=("--orphan-secs", "1.5")) as orphan:
        instance = await launched(orphan)
        for _ in range(5):
            await asyncio.sleep(0.4)  # the sign of life is given more often than it is needed
            await orphan.health()
        assert await asyncio.to_thread(orphan.wait) == 0
        assert await refuses(instance["PublicIpAddress"])
        assert not (orphan.folder / "endpoint.json").exists()


async def test_a_port_that_is_taken_is_named(alone: RunningRegion, tmp_path: Path) -> None:
    port = alone.endpoint.rpartition(":")[2]
    second = RunningRegion(tmp_path / "second", arguments=("--port", port))
    refused = await asyncio.to_thread(
        subprocess.run, second.command(), capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert port in refused.stderr


async def test_state_of_another_version_is_refused(alone: RunningRegion) -> None:
    await launched(alone)
    alone.end()
    (alone.folder / "regions" / "us-east-1.pickle").write_bytes(b"not a pickle")
    refused = await asyncio.to_thread(
        subprocess.run, alone.command(), capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "us-east-1.pickle" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_an_unknown_fault_stops_the_start(tmp_path: Path) -> None:
    wrong = RunningRegion(tmp_path / "region", faults={"pendig_secs": 1})
    refused = await asyncio.to_thread(
        subprocess.run, wrong.command(), capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "pendig_secs" in refused.stderr
