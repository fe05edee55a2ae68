"""A region that throttles every second call, loses every tenth answer and shows instances 10 s late.

Thirty sandboxes go through their whole lives in it at the same time; what that takes in calls is printed.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client
from tests.prove.accounts import at_rest, instances_agree, nothing_counts_twice
from tests.prove.test_kill import region_of
from tests.prove.test_many import POLL_SECS
from tests.server import RunningServer, server

HARD = {
    "throttle": [{"action": "*", "every": 2}],
    "lose": [{"action": "*", "every": 10}],
    "visible_after": 10.0,
}
MOST = {"RunInstances": 8, "StopInstances": 12, "StartInstances": 16, "TerminateInstances": 8}
"""Calls per sandbox, on average, of which half are throttled and a tenth is sent for nothing. A sandbox is
launched and terminated once, and stopped and started once or twice."""
LOOKS = 2.5
"""Describes in each interval, however many wait: one, and those that were throttled once more."""


@pytest.mark.timeout(900)
async def test_whole_lives_in_a_hard_region(tmp_path: Path, full: bool) -> None:
    count = 30 if full else 5
    async with server(tmp_path) as here:
        region = region_of(here)
        await region.set_faults(**HARD)
        began = time.monotonic()
        async with here.client() as client:
            kinds = [*Persistence] * (count // 2 + 1)
            await asyncio.gather(*(whole_life(client, kind) for kind in kinds[:count]))
        took = time.monotonic() - began
        calls = Counter((await region.calls())["counts"]["us-east-1"])
        tell(count, took, calls)
        for action, most in MOST.items():
            assert calls[action] <= most * count, calls
        assert calls["DescribeInstances"] <= LOOKS * took / POLL_SECS + 10, calls
        await an_end_in_it(here)
        await all_is_well(here, count + len(Persistence))


def tell(count: int, took: float, calls: Counter[str]) -> None:
    print(f"{count} whole lives took {took:.0f} s; calls per sandbox:")
    for action, number in calls.most_common():
        print(f"  {action} {number / count:.1f}")


async def whole_life(client: Client, persistence: Persistence) -> None:
    """Of one sandbox, whose files last from beginning to end."""
    spec = SandboxSpec(agent_provider="command", persistence=persistence)
    made = await client.create_sandbox(spec)
    name = made.name
    info = await at_rest_in(client, name, State.RUNNING)
    machine = info.instance
    assert machine
    await exec_in(client, name, f"echo {made.id} > ~/mark")
    rests = [(client.pause_sandbox, State.PAUSED, client.resume_sandbox)]
    if persistence is Persistence.PERSISTENT:
        rests.append((client.stop_sandbox, State.STOPPED, client.start_sandbox))
    for put_to_rest, rest, bring_back in rests:
        await put_to_rest(name)
        await at_rest_in(client, name, rest)
        await bring_back(name)
        info = await at_rest_in(client, name, State.RUNNING)
        assert info.instance
        assert info.instance.id == machine.id
        assert await exec_in(client, name, "cat ~/mark") == made.id
    await client.delete_sandbox(name)
    await at_rest_in(client, made.id, State.TERMINATED)


async def at_rest_in(client: Client, sandbox: str, state: State) -> SandboxInfo:
    info = await client.wait_until(sandbox)
    assert info.state is state, (info.state, info.failure)
    assert info.failure is None, info
    return info


async def exec_in(client: Client, sandbox: str, script: str) -> str:
    ran = await client.exec(sandbox, ExecRequest(command=["sh", "-c", script]))
    assert ran.exit_code == 0, ran
    return ran.stdout.strip()


async def an_end_in_it(here: RunningServer) -> None:
    """The server's orderly end takes down what runs and says so."""
    async with here.client() as client:
        for kind in Persistence:
            spec = SandboxSpec(agent_provider="command", name=f"last-{kind}", persistence=kind)
            await client.create_sandbox(spec)
        for kind in Persistence:
            await at_rest_in(client, f"last-{kind}", State.RUNNING)
    assert here.end() == 0, here.output()[-2000:]
    here.start()  # and the region with it, as good as new


async def all_is_well(here: RunningServer, count: int) -> None:
    sandboxes = await at_rest(here)
    assert Counter(one.state for one in sandboxes.values()) == {
        State.TERMINATED: count - 1,
        State.STOPPED: 1,
    }
    await instances_agree(here, sandboxes)
    nothing_counts_twice(here.database)
    assert "Traceback" not in here.output()
