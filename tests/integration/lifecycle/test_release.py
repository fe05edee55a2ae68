"""`terminate_on_delete = false`: whose machine is left, whose is not, and that nobody touches it then."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ciab.core.states import State
from tests.commands import Ciab
from tests.ec2 import tags
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, persistent, spec
from tests.region import RunningRegion
from tests.server import RunningServer, server

SETTINGS = config(
    {"terminate_on_delete": False, "idle_action": "terminate", "orphan_timeout_secs": 6},
    reaper={"interval_secs": 1, "grace_secs": 1},
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, SETTINGS) as running:
        yield running


async def parts(ec2: Any, instance_id: str) -> list[dict[str, str]]:
    """The tags of the instance, its disk and its interface."""
    instance = await acting.described(ec2, instance_id)
    disks = [one["Ebs"]["VolumeId"] for one in instance["BlockDeviceMappings"]]
    nics = [one["NetworkInterfaceId"] for one in instance["NetworkInterfaces"]]
    volumes = (await ec2.describe_volumes(VolumeIds=disks))["Volumes"]
    found = (await ec2.describe_network_interfaces(NetworkInterfaceIds=nics))["NetworkInterfaces"]
    return [tags(one) for one in (instance["Tags"], volumes[0]["Tags"], found[0]["TagSet"])]


def check_released(worn: list[dict[str, str]]) -> None:
    assert len(worn) == 3
    assert [one for one in worn if "ciab-managed" in one or "ciab-released" not in one] == []


async def test_what_is_left_and_that_it_is_left_alone(here: RunningServer) -> None:
    ciab = Ciab(here.url, {"CIAB_CONFIG": str(here.folder / "config.toml")})
    async with here.client() as client, acting.ec2_of(here) as ec2:
        left, stopped, old, idle = await acting.running(
            client,
            spec("left"),
            persistent("stopped"),
            spec("old", timeout_secs=6),
            spec("idle", idle_timeout_secs=2),
        )
        await client.stop_sandbox("stopped")
        failing = await client.create_sandbox(spec("fails", provisioning_scripts=["exit 1"]))
        await becomes(client, "stopped", State.STOPPED)
        assert acting.rows(here, "SELECT count(*) FROM keys WHERE sandbox_id = ?", left.id) == [(1,)]

        async with here.http() as http:
            answer = await http.delete("/api/v1/sandboxes/left")
        notice = f"instance {instance_of(left)} is stopped and left to you in us-east-1; its SSH key is gone"
        assert answer.status_code == 204
        assert answer.headers["X-CIAB-Released-Instance"] == instance_of(left)
        assert answer.headers["X-CIAB-Notice"] == notice
        assert "stopped and left to you" in ciab("sandbox", "delete", "stopped").err
        for info in (left, stopped):
            assert (await becomes(client, info.id, State.TERMINATED)).failure is None
            check_released(await parts(ec2, instance_of(info)))
            assert acting.rows(here, "SELECT * FROM keys WHERE sandbox_id = ?", info.id) == []
            written = "SELECT * FROM launch_attempts WHERE sandbox_id = ? AND request IS NOT NULL"
            assert acting.rows(here, written, info.id) == []

        # nobody asked for these ends, or there was nothing to be kept
        assert "lifetime of 6 s is over" in ((await becomes(client, old.id, State.TERMINATED)).reason or "")
        assert "idle" in ((await becomes(client, idle.id, State.TERMINATED)).reason or "")
        failed = await becomes(client, failing.id, State.FAILED)
        gone = [instance_of(info) for info in (old, idle, failed)]
        assert {(await acting.states(ec2))[one] for one in gone} <= set(acting.OVER)

        await acting.asked_again(here, "DescribeVolumes", 3)  # sweeps
        assert "nothing to collect" in ciab("gc").err
        kept = {instance_of(info): "stopped" for info in (left, stopped)}
        assert {one: (await acting.states(ec2))[one] for one in kept} == kept
        # whoever starts it again has a machine that nobody calls, and that does not end for that
        behaviour = await ec2.describe_instance_attribute(
            InstanceId=instance_of(left), Attribute="instanceInitiatedShutdownBehavior"
        )
        assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "stop"
        (ends,) = await acting.running(client, spec("ends"))
    assert here.end() == 0

    region = RunningRegion(here.region_folder)  # it ended with its server
    region.start()
    try:
        async with region.client("ec2") as ec2:
            after = await acting.states(ec2)
            assert {one: after.get(one) for one in kept} == kept
            assert after.get(instance_of(ends), "terminated") == "terminated"
            for one in kept:
                check_released(await parts(ec2, one))
    finally:
        region.end()
