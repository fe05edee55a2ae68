"""The configuration's limits reach what they are for."""

import pytest

from ciab.control.policy import Budgets, Policy
from ciab.control.work import Limits
from ciab.server.app import limits_of, policy_of
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


EC2_KEYS = {
    "stop_on_pause": (False, Policy(orphan_timeout=86_400, stop_on_pause=False)),
    "hibernate_on_pause": (True, Policy(orphan_timeout=86_400, hibernate_on_pause=True)),
    "auto_resume": (True, Policy(orphan_timeout=86_400, auto_resume=True)),
    "terminate_on_delete": (False, Policy(orphan_timeout=86_400, terminate_on_delete=False)),
    "max_lifetime_secs": (7, Policy(orphan_timeout=86_400, max_lifetime=7)),
    "idle_timeout_secs": (7, Policy(orphan_timeout=86_400, idle_timeout=7)),
    "idle_action": ("stop", Policy(orphan_timeout=86_400, idle_action="stop")),
    "orphan_timeout_secs": (7, Policy(orphan_timeout=7)),
}


@pytest.mark.parametrize("key", EC2_KEYS)
def test_each_key_of_a_life_is_heeded(key: str) -> None:
    value, expected = EC2_KEYS[key]
    assert policy_of(Settings.model_validate({"runtime": {"ec2": {key: value}}})) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Policy(orphan_timeout=86_400)),
        ({"budgets": {"per_sandbox": 1.5}}, Policy(orphan_timeout=86_400, budgets=Budgets(per_sandbox=1.5))),
        ({"budgets": {"per_workspace": 2}}, Policy(orphan_timeout=86_400, budgets=Budgets(per_workspace=2))),
        ({"budgets": {"per_day": 3}}, Policy(orphan_timeout=86_400, budgets=Budgets(per_day=3))),
        ({"server": {"watch_interval_secs": 7}}, Policy(orphan_timeout=86_400, watch_interval=7)),
        ({"reaper": {"interval_secs": 7}}, Policy(orphan_timeout=86_400, sweep_interval=7)),
        ({"reaper": {"grace_secs": 7}}, Policy(orphan_timeout=86_400, grace=7)),
        ({"reaper": {"max_per_sweep": 7}}, Policy(orphan_timeout=86_400, max_per_sweep=7)),
    ],
)
def test_each_key_of_money_and_sweeps_is_heeded(config: dict[str, object], expected: Policy) -> None:
    assert policy_of(Settings.model_validate(config)) == expected
