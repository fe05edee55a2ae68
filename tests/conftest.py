"""What all tests share: options, an environment without the user's, skips that count as failures in CI."""

import os
import random
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

HERE = Path(__file__).parent
CI = os.environ.get("CI") == "true"

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--live", action="store_true", help="also talk to real AWS, with the credentials found here"
    )
    parser.addoption(
        "--full", action="store_true", help="tests/prove with its long counts, not a seeded sample"
    )
    parser.addoption("--seed", type=int, default=None, help="of tests/prove; a new one each time by default")


def pytest_configure(config: pytest.Config) -> None:
    """The user's AWS account, server and proxies are none of a test's business."""
    for name in list(os.environ):
        foreign = name.startswith(("AWS_", "CIAB_")) or name.lower().endswith("_proxy")
        if foreign and not config.getoption("--live"):
            del os.environ[name]


SLOW = (
    "integration/doctor/test_files.py",
    "integration/doctor/test_missing.py",
    "integration/doctor/test_permissions.py",
    "integration/ec2/",
    "integration/image_machines/",
    "integration/lifecycle/",
    "integration/local_region/",
    "integration/process_machines/",
    "integration/server/test_crash.py",
    "integration/server/test_end.py",
    "integration/server/test_keys.py",
    "integration/server/test_much.py",
    "integration/server/test_real_machines.py",
    "integration/server/test_real_switch.py",
    "integration/server/test_real_trouble.py",
    "integration/server/test_refused.py",
    "integration/server/test_resume_fails.py",
    "integration/server/test_standstill.py",
    "integration/cli/test_configured_lifecycle.py",
    "integration/cli/test_server.py",
    "integration/ssh/test_pulse.py",
    "integration/test_guardian.py",
    "integration/test_rotate_key.py",
)
"""Below tests/. Marked here, in one place, so that the default part stays under five minutes."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(HERE).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    if config.getoption("--live"):
        return
    live = [item for item in items if item.get_closest_marker("live")]
    if live:
        config.hook.pytest_deselected(items=live)
        items[:] = [item for item in items if item not in live]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _no_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _no_skip(report)


def _no_skip(report: Report) -> Report:
    """In CI everything that a test needs is there: a skip hides something."""
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long counts of tests/prove are wanted."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What the random choices of a long test follow from. It is shown with a failure."""
    given: int | None = request.config.getoption("--seed")
    chosen = random.randrange(2**32) if given is None else given
    print(f"--seed {chosen}")
    return chosen
