"""What goes wrong says so: where it broke, why, what to do, and what the machine itself had to say."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ciab.core.states import State
from ciab.schema.sandboxes import Failure, SandboxInfo
from ciab.sdk.client import Client
from tests.commands import Ciab
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, config, instance_of, persistent, shell, spec
from tests.server import RunningServer, server

SETTINGS = config({"ssh_timeout_secs": 2, "instance_ready_timeout_secs": 3}, provisioning={"timeout_secs": 2})
SCRIPT = "echo configuring; echo it is $TOKEN >&2; echo no such package >&2; exit 3"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with server(tmp_path, SETTINGS) as running:
        yield running


async def broken(client: Client, name: str, **more: Any) -> tuple[SandboxInfo, Failure]:
    """A creation that fails. Nothing of it is left."""
    made = await client.create_sandbox(spec(name, **more))
    info = await becomes(client, made.id, State.FAILED)
    assert info.failure is not None
    assert info.failure.message and info.failure.hint
    return info, info.failure


def shown(ciab: Ciab, info: SandboxInfo) -> str:
    """As `ciab sandbox get` prints it: the failure, and whatever is kept with it."""
    text = ciab.good("sandbox", "get", info.id)
    failure = info.failure
    assert failure is not None
    said = (f"[{failure.code}]", f"{failure.step}: ", failure.message, failure.hint or "")
    assert [part for part in said if part not in text] == []
    return text


async def test_creations(here: RunningServer) -> None:
    region, ciab = acting.region_of(here), Ciab(here.url)
    async with here.client() as client, acting.ec2_of(here) as ec2:
        before = await region.faults_now()
        # one that has its address, and never boots
        await region.set_faults(pending_secs=3600)
        deaf, failure = await broken(client, "deaf")
        await region.set_faults(pending_secs=before["pending_secs"])
        assert (failure.step, failure.code) == ("await_guest", "guest_unreachable")
        assert "refuses connections" in failure.message
        shown(ciab, deaf)

        await region.set_faults(start_fails=[{"times": 1, "message": "no device to boot from"}])
        dead, failure = await broken(client, "dead")
        assert failure.code == "machine_ended"
        assert "no device to boot from" in failure.message
        shown(ciab, dead)

        await region.set_faults(capacity=[{"type": "m5.large"}])
        _, failure = await broken(client, "late", ec2={"instance_type": "m5.large"})
        assert (failure.step, failure.code) == ("launch_machine", "capacity_unavailable")
        await region.set_faults(capacity=[])

        secret = {"TOKEN": SecretStr("hunter2-and-more")}
        script, failure = await broken(
            client, "script", env_vars=secret, provisioning_scripts=["true", SCRIPT]
        )
        assert (failure.step, failure.code) == ("run_scripts", "command_failed")
        for words in ("ended with 3", "configuring", "it is ***", "no such package"):
            assert words in failure.message
        assert failure.console
        text = shown(ciab, script)
        assert failure.console.splitlines()[-1] in text
        assert "hunter2" not in text

        _, failure = await broken(client, "slow", provisioning_scripts=["echo begun; sleep 60"])
        assert "took longer than 2 s: begun" in failure.message
        assert set((await acting.states(ec2)).values()) <= set(acting.OVER)

        again = ciab.good("sandbox", "recover", dead.id)
        new = await client.get_sandbox(again)
        assert (new.state, new.recovered_from, new.name) == (State.RUNNING, dead.id, "dead")
        assert (
            json.loads(ciab.good("sandbox", "get", dead.id, "-o", "json"))["failure"]["code"]
            == "machine_ended"
        )
        assert await shell(client, "dead", "echo alive") == "alive"


async def test_resumes(here: RunningServer) -> None:
    region = acting.region_of(here)
    async with here.client() as client, acting.ec2_of(here) as ec2:
        rested, stopped = await acting.running(client, spec("rested"), persistent("stopped"))
        for name in ("rested", "stopped"):
            await shell(client, name, "echo here > ~/file")
        await client.pause_sandbox("rested")
        await client.stop_sandbox("stopped")
        await becomes(client, "rested", State.PAUSED)
        await becomes(client, "stopped", State.STOPPED)

        await region.set_faults(capacity=[{}])
        await client.resume_sandbox("rested")
        await client.start_sandbox("stopped")
        for info, state in ((rested, State.PAUSED), (stopped, State.STOPPED)):
            failure = (await becomes(client, info.id, State.PAUSED, State.STOPPED)).failure
            assert failure is not None
            assert (failure.step, failure.code) == ("start_machine", "capacity_unavailable")
            assert (await client.get_sandbox(info.id)).state is state

        # a machine that takes longer than it may
        await region.set_faults(capacity=[], pending_secs=5)
        await client.resume_sandbox("rested")
        late = await becomes(client, "rested", State.PAUSED)
        assert late.failure is not None
        assert (late.failure.step, late.failure.code) == ("start_machine", "runtime_unavailable")
        assert "still pending" in late.failure.message
        await acting.reaches(ec2, instance_of(rested), "stopped")

        await region.set_faults(pending_secs=0)
        await client.resume_sandbox("rested")
        await client.start_sandbox("stopped")
        for name in ("rested", "stopped"):
            assert (await becomes(client, name, State.RUNNING)).failure is None
            assert await shell(client, name, "cat ~/file") == "here"
