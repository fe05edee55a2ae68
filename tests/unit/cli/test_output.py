"""What a person reads about a sandbox, its costs and a sweep."""

from datetime import UTC, datetime

import pytest

from ciab.cli import cost, output, reaper
from ciab.cli.sandbox import look
from ciab.schema.costs import CostReport
from ciab.schema.reaper import Verdict
from ciab.schema.sandboxes import SandboxInfo

INFO = {
    "id": "3f0c9d7e-0000-4000-8000-000000000001",
    "name": "box",
    "state": "running",
    "persistence": "ephemeral",
    "agent_provider": "command",
    "labels": {},
    "created_at": "2026-01-02T03:04:05Z",
    "updated_at": "2026-01-02T03:04:05Z",
    "spec": {"agent_provider": "command"},
}
INSTANCE = {
    "id": "i-1",
    "type": "t3.medium",
    "region": "us-east-1",
    "az": "us-east-1a",
    "image": "ami-1",
    "launched_at": "2026-01-02T03:04:05Z",
}


def told(capsys: pytest.CaptureFixture[str], **more: object) -> str:
    look.describe(SandboxInfo.model_validate({**INFO, **more}))
    return capsys.readouterr().out


def test_a_plain_sandbox_says_no_more_than_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys)
    assert [line.split(":")[0] for line in text.splitlines()] == [
        *(
            "name",
            "id",
            "state",
            "provider",
            "persistence",
            "created",
            "updated",
            "endpoint",
            "labels",
            "cost",
        )
    ]


def test_why_how_long_and_for_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(
        capsys,
        state="paused",
        reason="it was idle for 60 s",
        held="hibernated",
        recovered_from="3f0c9d7e-0000-4000-8000-000000000002",
        expires_at="2026-01-02T05:04:05+01:00",
        cost={"usd": 1.234, "usd_hour": 0.0416},
        instance={**INSTANCE, "spot": True},
        spec={"agent_provider": "command", "workspace": "web"},
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "reason: it was idle for 60 s" in lines
    assert "held: hibernated" in lines
    assert "recovered from: 3f0c9d7e-0000-4000-8000-000000000002" in lines
    assert "expires: 2026-01-02T04:04:05Z" in lines
    assert "cost: $1.23, $0.0416 an hour" in lines
    assert "workspace: web" in lines
    assert "instance: i-1, t3.medium spot in us-east-1a, from ami-1" in lines


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        ({"usd": None, "usd_hour": None}, "cost: no price is known for its type"),
        ({"usd": 0.5, "usd_hour": 0}, "cost: $0.5000"),
        (None, "cost: -"),
    ],
)
def test_costs_in_words(capsys: pytest.CaptureFixture[str], cost: object, said: str) -> None:
    assert said in [" ".join(line.split()) for line in told(capsys, cost=cost).splitlines()]


def test_a_failure_shows_what_to_do_and_what_the_machine_said(capsys: pytest.CaptureFixture[str]) -> None:
    console = "\x1b[0;32m  OK  \x1b[0m Started\r\n\tdeep\x1b]0;evil\x07\n\nlogin: "
    failure = {
        "step": "await_guest",
        "code": "guest_unreachable",
        "message": "no answer\nat all",
        "hint": "look at the security group",
        "console": console,
        "cloud_init": "Cloud-init failed",
    }
    text = told(capsys, state="failed", failure=failure)
    head, console_block = text.split("console:\n")
    lines = [" ".join(line.split()) for line in head.splitlines()]
    assert "failure: await_guest: no answer / at all [guest_unreachable]" in lines
    assert "hint: look at the security group" in lines
    assert console_block == (
        "      OK   Started\n            deep?]0;evil?\n\n    login:\ncloud-init:\n    Cloud-init failed\n"
    )


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (None, "?"),
        (0, "$0.00"),
        (0.00416, "$0.0042"),
        (1e-9, "<$0.0001"),
        (0.9, "$0.9000"),
        (1, "$1.00"),
        (1234.5, "$1234.50"),
    ],
)
def test_dollars(amount: float | None, said: str) -> None:
    assert output.dollars(amount) == said


def test_the_report_has_a_line_for_each_and_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    one = {"id": INFO["id"], "name": "box", "state": "running", "workspace": "web"}
    report = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "today_usd": 1.5,
        "sandboxes": [
            {**one, "cost": {"usd": 1.5, "usd_hour": 0.25}},
            {**one, "name": "odd", "workspace": None, "cost": {"usd": None, "usd_hour": None}},
        ],
        "workspaces": {"web": 1.5},
        "budgets": {"per_sandbox": 2, "per_workspace": 0, "per_day": 5},
    }
    cost.describe(CostReport.model_validate(report))
    captured = capsys.readouterr()
    table, sums = captured.out.split("\n\n")
    rows = [line.split() for line in table.splitlines()]
    assert rows[1] == ["box", INFO["id"], "running", "$1.50", "$0.2500", "web"]
    assert rows[2] == ["odd", INFO["id"], "running", "?", "?", "-"]
    assert [" ".join(line.split()) for line in sums.splitlines()] == [
        "today (UTC): $1.50 of $5.00",
        "now: $0.2500 an hour",
        "workspace web: $1.50",
        "most for a sandbox: $2.00",
    ]
    assert "no price is known for 1 of them" in captured.err


def test_a_sweep_is_a_table_with_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = {
        "action": "would_end",
        "reason": "sandbox box is failed",
        "kind": "machine",
        "id": "i-1",
        "region": "us-east-1",
        "sandbox_id": INFO["id"],
        "state": "running",
    }
    reaper.describe([Verdict.model_validate(verdict)])
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["ACTION", "KIND", "ID", "REGION", "SANDBOX", "WHY"]
    assert " ".join(row.split()) == f"would end machine i-1 us-east-1 {INFO['id']} sandbox box is failed"
    reaper.describe([])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "there is nothing to collect\n")
