"""What the tests of this folder do: make sandboxes, look behind the server, wait for what must come."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from typing import Any

from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.events import StreamEvent
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import Ec2Spec, SandboxSpec
from ciab.sdk.client import Client
from tests.region import RunningRegion
from tests.server import RunningServer

PATIENCE_SECS = 30.0
OVER = ("shutting-down", "terminated")


def config(ec2: Mapping[str, Any] | None = None, **tables: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose server looks at its sandboxes every second; `ec2` is [runtime.ec2]."""
    server = {"watch_interval_secs": 1, **tables.pop("server", {})}
    return {"server": server, "runtime": {"ec2": dict(ec2 or {})}, **tables}


def spec(name: str, ec2: Mapping[str, Any] | None = None, **more: Any) -> SandboxSpec:
    return SandboxSpec(agent_provider="command", name=name, ec2=Ec2Spec(**(ec2 or {})), **more)


def persistent(name: str, **more: Any) -> SandboxSpec:
    return spec(name, persistence=Persistence.PERSISTENT, **more)


async def running(client: Client, *specs: SandboxSpec) -> list[SandboxInfo]:
    """New sandboxes, made side by side, that run."""
    made = [await client.create_sandbox(one) for one in specs]
    infos = await asyncio.gather(*(client.wait_until(info.id) for info in made))
    assert [info.state for info in infos] == [State.RUNNING] * len(specs), [one.failure for one in infos]
    return infos


async def becomes(client: Client, sandbox: str, *states: State, secs: float = PATIENCE_SECS) -> SandboxInfo:
    """The sandbox once it is in one of these states."""
    async with asyncio.timeout(secs):
        info = await client.wait_until(sandbox, frozenset(states))
    assert info.state in states, info
    return info


async def until(
    what: str, condition: Callable[[], Awaitable[object]], secs: float = PATIENCE_SECS, pause: float = 0.05
) -> None:
    """Wait until the condition holds."""
    try:
        async with asyncio.timeout(secs):
            while not await condition():
                await asyncio.sleep(pause)
    except TimeoutError:
        raise AssertionError(f"after {secs:g} s it is not so that {what}") from None


async def shell(client: Client, sandbox: str, script: str) -> str:
    """What a script that must succeed writes."""
    ran = await client.exec(sandbox, ExecRequest(command=["bash", "-c", script]))
    assert ran.exit_code == 0, ran
    return ran.stdout.strip()


async def warned(client: Client, sandbox: str, code: str, secs: float = PATIENCE_SECS) -> StreamEvent:
    """The `sandbox_warning` with this code, told by now or soon."""
    async with asyncio.timeout(secs):
        async for event in client.events(sandbox):
            if event.event_type == "sandbox_warning" and event.data["code"] == code:
                return event
    raise AssertionError(f"{sandbox} has ended without the warning {code}")


def region_of(here: RunningServer) -> RunningRegion:
    """The local region that the server has started."""
    return RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])


@asynccontextmanager
async def ec2_of(here: RunningServer) -> AsyncIterator[Any]:
    """The region's API, as somebody outside CIAB uses it."""
    async with region_of(here).client("ec2", attempts=5) as ec2:
        yield ec2


async def states(ec2: Any) -> dict[str, str]:
    """Instances' states by their ids, all that are shown."""
    found = await ec2.describe_instances()
    listed = [one for reservation in found["Reservations"] for one in reservation["Instances"]]
    return {one["InstanceId"]: one["State"]["Name"] for one in listed}


async def described(ec2: Any, instance_id: str) -> dict[str, Any]:
    found = await ec2.describe_instances(InstanceIds=[instance_id])
    return dict(found["Reservations"][0]["Instances"][0])


async def reaches(ec2: Any, instance_id: str, state: str, secs: float = PATIENCE_SECS) -> None:
    """Wait until the instance is in this state."""

    async def there() -> bool:
        return (await states(ec2)).get(instance_id) == state

    # seldom: the region limits requests as EC2 does, and the server's are among them
    await until(f"{instance_id} is {state}", there, secs, pause=0.3)


async def requests(here: RunningServer, action: str) -> list[dict[str, Any]]:
    """The parameters of all calls of one action, oldest first."""
    return [
        call["parameters"] for call in (await region_of(here).calls())["last"] if call["action"] == action
    ]


async def count_of(here: RunningServer, action: str) -> int:
    """How often the region was asked for this."""
    counts = (await region_of(here).calls())["counts"]
    return sum(by_action.get(action, 0) for by_action in counts.values())


async def asked_again(here: RunningServer, action: str, times: int = 2) -> None:
    """Wait until the region has been asked for this so many times more: that many rounds have passed."""
    before = await count_of(here, action)

    async def more() -> bool:
        return await count_of(here, action) >= before + times

    await until(f"{action} was called {times} times more", more)


def rows(here: RunningServer, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What the server's database answers."""
    with closing(sqlite3.connect(f"file:{here.database}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def instance_of(info: SandboxInfo) -> str:
    assert info.instance is not None
    return info.instance.id
