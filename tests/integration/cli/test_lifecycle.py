"""`ciab sandbox pause`, `resume` and `recover`, `ciab cost` and `ciab gc` against the real server."""

import json
import re

import pytest

from tests.commands import Ciab
from tests.region import RunningRegion
from tests.server import RunningServer


def test_pause_and_resume_keep_files_and_environment(ciab: Ciab) -> None:
    ciab.good("sandbox", "create", "--provider", "command", "--name", "rests", "-e", "KEPT=too")
    ciab.good("sandbox", "exec", "rests", "--", "touch", "kept")
    paused = ciab("sandbox", "pause", "rests")
    assert (paused.code, paused.text) == (0, "rests is paused\n")
    assert re.search(r"^held: +stopped$", ciab.good("sandbox", "get", "rests"), re.MULTILINE)
    refused = ciab("sandbox", "exec", "rests", "--", "ls")
    assert refused.code == 125
    assert refused.lines == ["error: sandbox rests is paused, not running; resume it first"]
    assert "sandbox_invalid_state" in ciab("-o", "json", "sandbox", "pause", "rests").err
    assert ciab.good("sandbox", "resume", "rests") == "rests is running"
    assert ciab.good("sandbox", "exec", "rests", "--", "sh", "-c", "ls; echo $KEPT") == "kept\ntoo"
    ciab.good("sandbox", "delete", "rests")


async def test_a_resume_without_capacity_says_so_and_the_next_one_works(
    ciab: Ciab, here: RunningServer
) -> None:
    region = RunningRegion(here.region_folder, endpoint=here.region()["endpoint"])
    ciab.good("sandbox", "create", "--provider", "command", "--name", "waits")
    ciab.good("sandbox", "pause", "waits")
    await region.set_faults(capacity=[{"type": "*"}])
    try:
        failed = ciab("sandbox", "resume", "waits")
        assert (failed.code, failed.text) == (1, "waits is paused\n")
        assert failed.lines[-1].startswith("error: sandbox waits: ")
        shown = ciab.good("sandbox", "get", "waits")
        assert re.search(r"^failure: +start_machine: .*\[capacity_unavailable\]$", shown, re.MULTILINE)
    finally:
        await region.set_faults(capacity=[])
    assert ciab.good("sandbox", "resume", "waits") == "waits is running"
    ciab.good("sandbox", "delete", "waits")


def test_a_sandbox_that_failed_is_made_anew(ciab: Ciab) -> None:
    bad = ["--image", "ami-0123456789abcdef0"]
    lost = ciab("sandbox", "create", "--provider", "command", "--name", "lost", *bad).text.strip()
    again = ciab("sandbox", "recover", lost, "--name", "again")
    assert again.code == 1
    assert again.lines[0].startswith("sandbox again (")
    shown = json.loads(ciab.good("sandbox", "get", again.text.strip(), "-o", "json"))
    assert (shown["recovered_from"], shown["spec"]["image"]) == (lost, bad[1])
    assert f"recovered from: {lost}" in " ".join(ciab.good("sandbox", "get", again.text.strip()).split())


def test_a_sandbox_that_ended_is_made_anew_under_its_name(ciab: Ciab) -> None:
    lost = ciab.good("sandbox", "create", "--provider", "command", "--name", "phoenix", "--label", "a=b")
    refused = ciab("sandbox", "recover", "phoenix")
    assert (refused.code, len(refused.lines)) == (1, 1)
    ciab.good("sandbox", "delete", "phoenix")
    new = ciab.good("sandbox", "recover", "phoenix")
    assert new != lost
    shown = json.loads(ciab.good("sandbox", "get", "phoenix", "-o", "json"))
    assert (shown["id"], shown["state"], shown["labels"]) == (new, "running", {"a": "b"})
    ciab.good("sandbox", "delete", "phoenix")


def test_limits_reach_the_spec(ciab: Ciab) -> None:
    given = ["--lifetime", "3600", "--idle-timeout", "600", "--workspace", "web", "--no-spot", "--no-wait"]
    made = json.loads(ciab.good("-o", "json", "sandbox", "create", "--provider", "command", *given))
    spec = made["spec"]
    assert (spec["timeout_secs"], spec["idle_timeout_secs"]) == (3600, 600)
    assert (spec["workspace"], spec["ec2"]["spot"]) == ("web", False)
    assert made["expires_at"] is not None
    ciab.good("sandbox", "delete", made["id"])


def test_costs_are_a_table_and_a_document(ciab: Ciab, box: str) -> None:
    table, sums = ciab.good("cost").split("\n\n")
    assert table.splitlines()[0].split() == ["NAME", "ID", "STATE", "COST", "AN", "HOUR", "WORKSPACE"]
    [row] = [line.split() for line in table.splitlines() if line.startswith(f"{box} ")]
    assert row[2] == "running"
    assert all(re.fullmatch(r"<?\$\d+\.\d+", amount) for amount in row[3:5])
    assert re.match(r"today \(UTC\): +<?\$", sums)
    report = json.loads(ciab.good("cost", "-o", "json"))
    [one] = [one for one in report["sandboxes"] if one["name"] == box]
    assert one["cost"]["usd"] > 0
    assert one["cost"]["usd_hour"] > 0
    shown = ciab.good("sandbox", "get", box)
    assert re.search(r"^cost: +\$\d.*, \$\d.* an hour$", shown, re.MULTILINE)


def test_a_sweep_with_nothing_to_collect_says_so(ciab: Ciab, box: str) -> None:
    swept = ciab("gc", "--dry-run")
    assert (swept.code, swept.out, swept.lines) == (0, b"", ["there is nothing to collect"])
    assert json.loads(ciab.good("gc", "-o", "json")) == []
    assert json.loads(ciab.good("sandbox", "get", box, "-o", "json"))["state"] == "running"


def test_an_owner_that_is_no_id_is_a_usage_error(ciab: Ciab) -> None:
    refused = ciab("gc", "--owner", "me")
    assert refused.code == 2
    assert "owner" in refused.err


@pytest.mark.parametrize("secs", ["-1", "soon", "1e12"])
def test_limits_that_nobody_can_mean_are_usage_errors(ciab: Ciab, secs: str) -> None:
    refused = ciab("sandbox", "create", "--provider", "command", "--idle-timeout", secs)
    assert (refused.code, refused.out) == (2, b"")
