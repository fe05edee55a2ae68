"""The configuration's time limits reach the steps that they are for."""

import pytest

from ciab.control.work import Limits
from ciab.server.app import limits_of
from ciab.server.settings import Settings


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Limits(ready=180, login=120, setup=900)),
        ({"runtime": {"ec2": {"ssh_timeout_secs": 7}}}, Limits(ready=180, login=7, setup=900)),
        ({"runtime": {"ec2": {"instance_ready_timeout_secs": 8}}}, Limits(ready=8, login=120, setup=900)),
        ({"provisioning": {"timeout_secs": 9}}, Limits(ready=180, login=120, setup=9)),
    ],
)
def test_each_time_limit_has_its_step(config: dict[str, object], expected: Limits) -> None:
    assert limits_of(Settings.model_validate(config)) == expected
