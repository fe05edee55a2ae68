"""What the configuration makes of `ciab sandbox delete`, `pause` and `gc`; each test has its own server."""

import asyncio
import json
from pathlib import Path
from uuid import uuid4

from tests.commands import Ciab
from tests.integration.local_region.ask import launcher, tagged, until
from tests.region import RunningRegion
from tests.server import server


async def test_a_delete_that_leaves_the_instance_says_which(tmp_path: Path) -> None:
    async with server(tmp_path, {"runtime": {"ec2": {"terminate_on_delete": False}}}) as here:
        ciab = Ciab(here.url)
        for name, options in (("one", ()), ("two", ("-o", "json"))):
            ciab.good("sandbox", "create", "--provider", "command", "--name", name)
            instance = json.loads(ciab.good("sandbox", "get", name, "-o", "json"))["instance"]["id"]
            deleted = ciab("sandbox", "delete", name, *options)
            notice = f"instance {instance} is stopped and left to you in us-east-1; its SSH key is gone"
            assert deleted.code == 0
            if options:
                told = json.loads(deleted.text)
                assert (told["state"], told["released_instance"]) == ("terminated", instance)
                assert told["notice"] == notice
            else:
                assert (deleted.text, deleted.lines) == (f"{name}\n", [notice])
        states = {one["State"]["Name"] for one in await here.machines()}
        assert states == {"stopped"}


async def test_a_frozen_sandbox_keeps_its_instance_running(tmp_path: Path) -> None:
    async with server(tmp_path, {"runtime": {"ec2": {"stop_on_pause": False}}}) as here:
        ciab = Ciab(here.url)
        ciab.good("sandbox", "create", "--provider", "command", "--name", "ice")
        assert ciab.good("sandbox", "pause", "ice") == "ice is paused"
        assert json.loads(ciab.good("sandbox", "get", "ice", "-o", "json"))["held"] == "frozen"
        assert [one["State"]["Name"] for one in await here.machines()] == ["running"]
        assert ciab("sandbox", "exec", "ice", "--", "true").code == 125
        assert ciab.good("sandbox", "resume", "ice") == "ice is running"
        assert ciab.good("sandbox", "exec", "ice", "--", "echo", "melted") == "melted"
        ciab.good("sandbox", "delete", "ice")


async def test_a_sweep_takes_what_no_database_knows_and_tells_what_it_cannot(tmp_path: Path) -> None:
    config = {"reaper": {"grace_secs": 1, "interval_secs": 3600}}
    async with server(tmp_path, config) as here:
        ciab = Ciab(here.url)
        ciab.good("sandbox", "create", "--provider", "command", "--name", "mine")
        (mine,) = await here.machines()
        region = RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])
        tags = {tag["Key"]: tag["Value"] for tag in mine["Tags"]} | {"ciab-sandbox-id": str(uuid4())}
        async with region.client("ec2") as ec2:
            launch = launcher(ec2, mine["ImageId"])
            stranger = (await launch(TagSpecifications=tagged(**tags)))["InstanceId"]
            await until(ec2, stranger, "running")
        async with asyncio.timeout(30):
            while "would end" not in (would := ciab.good("gc", "--dry-run")):
                assert "it is only" in would  # young things are spared until the grace period is over
        assert stranger in would
        assert mine["InstanceId"] not in would
        await region.set_faults(denied=["TerminateInstances"])
        failed = ciab("gc")
        assert failed.code == 1
        assert failed.lines[-1] == "error: 1 of 1 could not be ended; try again"
        await region.set_faults(denied=[])
        told = json.loads(ciab.good("gc", "-o", "json"))
        (ended,) = [one for one in told if one["action"] == "ended"]
        assert (ended["id"], ended["kind"]) == (stranger, "machine")
        assert {one["kind"] for one in told} == {"machine", "volume", "interface"}  # its parts go with it
        assert [one["InstanceId"] for one in await here.machines()] == [mine["InstanceId"]]
