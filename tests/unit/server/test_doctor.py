"""The checks of `ciab doctor` that look at the configuration alone."""

from typing import Any

import pytest

from ciab.server.doctor.tools import price
from ciab.server.settings import Settings


def with_type(kind: str, **more: Any) -> Settings:
    return Settings.model_validate({"runtime": {"ec2": {"instance_type": kind}}, **more})


@pytest.mark.parametrize("budget", ["per_sandbox", "per_workspace", "per_day"])
def test_a_budget_needs_a_price(budget: str) -> None:
    found = price(with_type("u-6tb1.metal", budgets={budget: 5.0}))
    assert found.status == "error"
    assert '"u-6tb1.metal" = DOLLARS' in (found.hint or "")


def test_without_a_budget_an_unknown_price_is_a_warning() -> None:
    assert price(with_type("u-6tb1.metal")).status == "warning"


def test_every_type_that_may_be_launched_needs_its_price() -> None:
    ec2 = {"instance_types": ["u-6tb1.metal"], "prices": {"t3.medium": 1.0}}
    found = price(Settings.model_validate({"runtime": {"ec2": ec2}, "budgets": {"per_day": 1.0}}))
    assert found.status == "error"
    ec2["prices"] = {"u-6tb1.metal": 60.0}
    found = price(Settings.model_validate({"runtime": {"ec2": ec2}, "budgets": {"per_day": 1.0}}))
    assert found.status == "ok"
    assert "u-6tb1.metal $60." in found.message
