"""`ciab doctor` under backend = "local": with the server's region, or one for the time of the check."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.installation import Installation
from tests.region import RunningRegion


@pytest.fixture
def local(tmp_path: Path) -> Installation:
    return Installation(tmp_path, {}, backend="local", environment={})


def test_a_region_is_started_for_the_check_and_nothing_is_left(local: Installation) -> None:
    local.temporary.mkdir()
    before = local.files()
    code, found = local.findings()
    assert code == 0
    assert {name for name, finding in found.items() if finding["status"] == "error"} == set()
    assert "temporary folder" in found["local region"]["tried"]
    assert found["launch"]["status"] == found["permissions"]["status"] == "ok"
    assert found["database"]["message"] == "there is none; the first start makes it"
    assert local.files() == before
    assert list(local.temporary.iterdir()) == []


def test_a_region_that_runs_is_used_and_left_alone(local: Installation) -> None:
    folder = local.database.with_suffix(".region")
    running = RunningRegion(folder)
    running.start()
    try:
        code, found = local.findings()
        assert code == 0
        assert str(folder) in found["local region"]["tried"]
        assert found["local region"]["message"].startswith("it runs")
        assert json.loads((folder / "endpoint.json").read_text())["pid"] == running.pid
    finally:
        assert running.end() == 0


def test_a_doctor_that_is_interrupted_takes_its_region_along(local: Installation) -> None:
    process = local.begin()
    deadline = time.monotonic() + 30
    while not list(local.temporary.glob("ciab-doctor-*/region")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert list(local.temporary.iterdir()) == []
