from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ciab.core.ids import SandboxId
from ciab.core.machine import Login, Machine, MachineState, Place, Site
from ciab.core.sandbox import Failure, Held, Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.core.states import State
from ciab.schema.sandboxes import Cost, SandboxInfo

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = SandboxId("3f0c9d7e-0000-4000-8000-000000000001")


def sandbox(
    address: str = "public", public_ip: str | None = "127.1.2.3", state: State = State.RUNNING
) -> Sandbox:
    machine = Machine(
        id="i-1",
        sandbox_id=ID,
        state=MachineState.RUNNING,
        type="t3.medium",
        region="us-east-1",
        zone="us-east-1a",
        image="ami-1",
        public_ip=public_ip,
        private_ip="127.9.9.9",
        launched_at=NOW,
    )
    return Sandbox(
        id=ID,
        name="box",
        spec=Spec(agent_provider="command", env_vars={"KEY": Secret("hidden")}, labels={"a": "b"}),
        state=state,
        created_at=NOW,
        updated_at=NOW,
        site=Site(
            Place("local", "1", "", "us-east-1"),
            Login("ubuntu", 2222, "public" if address == "public" else "private"),
        ),
        machine=machine,
        failure=Failure("await_guest", "guest_unreachable", "no answer", "look at the console"),
    )


def test_what_the_api_shows() -> None:
    shown = SandboxInfo.from_core(sandbox()).model_dump(mode="json")
    spec = shown.pop("spec")
    assert shown == {
        "id": ID,
        "name": "box",
        "state": "running",
        "persistence": "ephemeral",
        "agent_provider": "command",
        "endpoint_url": "ssh://ubuntu@127.1.2.3:2222",
        "labels": {"a": "b"},
        "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
        "failure": {
            "step": "await_guest",
            "code": "guest_unreachable",
            "message": "no answer",
            "hint": "look at the console",
            "console": None,
            "cloud_init": None,
        },
        "instance": {
            "id": "i-1",
            "type": "t3.medium",
            "region": "us-east-1",
            "az": "us-east-1a",
            "image": "ami-1",
            "public_ip": "127.1.2.3",
            "private_ip": "127.9.9.9",
            "launched_at": "2026-01-02T03:04:05Z",
            "spot": False,
        },
        "reason": None,
        "held": None,
        "recovered_from": None,
        "expires_at": None,
        "cost": None,
    }
    assert spec["env_vars"] == {"KEY": "***"}
    assert spec["name"] == "box"


def test_the_endpoint_is_the_address_that_the_site_names() -> None:
    assert SandboxInfo.from_core(sandbox("private")).endpoint_url == "ssh://ubuntu@127.9.9.9:2222"


def test_no_endpoint_without_an_address_or_after_the_end() -> None:
    assert SandboxInfo.from_core(sandbox(public_ip=None)).endpoint_url is None
    assert SandboxInfo.from_core(sandbox(state=State.TERMINATED)).endpoint_url is None


def test_an_older_client_reads_what_a_newer_server_adds() -> None:
    shown = SandboxInfo.from_core(sandbox()).model_dump(mode="json")
    shown["mood"] = 1
    shown["spec"]["gpu"] = True
    assert SandboxInfo.model_validate(shown, extra="ignore").name == "box"


def test_why_how_and_for_how_much() -> None:
    lived = replace(
        sandbox(state=State.PAUSED),
        reason="it was idle for 60 s",
        held=Held.FROZEN,
        recovered_from=SandboxId("3f0c9d7e-0000-4000-8000-000000000002"),
        failure=Failure("await_guest", "guest_unreachable", "no", None, "login: \udcff", "error"),
    )
    until = NOW + timedelta(hours=1)
    shown = SandboxInfo.from_core(lived, Cost(usd=0.5, usd_hour=0.04), until).model_dump(mode="json")
    assert shown["reason"] == "it was idle for 60 s"
    assert shown["held"] == "frozen"
    assert shown["recovered_from"] == "3f0c9d7e-0000-4000-8000-000000000002"
    assert shown["expires_at"] == "2026-01-02T04:04:05Z"
    assert shown["cost"] == {"usd": 0.5, "usd_hour": 0.04, "currency": "USD"}
    assert (shown["failure"]["console"], shown["failure"]["cloud_init"]) == ("login: \ufffd", "error")
    SandboxInfo.model_validate(shown)


@pytest.mark.parametrize("state", [State.TERMINATED, State.FAILED])
def test_what_has_ended_does_not_expire_any_more(state: State) -> None:
    assert SandboxInfo.from_core(sandbox(state=state), None, NOW).expires_at is None


@pytest.mark.parametrize("state", [State.RUNNING, State.STOPPED, State.STARTING])
def test_only_a_paused_sandbox_is_held(state: State) -> None:
    assert SandboxInfo.from_core(replace(sandbox(state=state), held=Held.STOPPED)).held is None
