"""What the configuration makes of `ciab sandbox delete` and `pause`: each test has a server of its own."""

import json
from pathlib import Path

from tests.commands import Ciab
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
