"""What machines cost: the table, what stands over it, and what is added."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ciab.adapters.ec2.price_table import on_demand
from ciab.adapters.ec2.prices import Ec2Prices
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.ids import SandboxId
from ciab.core.machine import Machine, MachineState
from ciab.core.spec import Ec2Overrides, Persistence, Spec

DISK = 30 * 0.08 / 730
MACHINE = Machine(
    id="i-1",
    sandbox_id=SandboxId("box"),
    state=MachineState.RUNNING,
    type="t3.medium",
    region="us-east-1",
    zone="us-east-1a",
    image="ami-1",
    public_ip="198.51.100.1",
    private_ip="10.0.0.1",
    launched_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def prices(**settings: Any) -> Ec2Prices:
    return Ec2Prices(Ec2Settings.model_validate(settings))


@pytest.mark.parametrize(
    ("instance_type", "dollars"),
    [
        ("t2.micro", 0.0116),
        ("t3.nano", 0.0052),
        ("t3.medium", 0.0416),
        ("t3a.small", 0.0188),
        ("t4g.2xlarge", 0.2688),
        ("m5.24xlarge", 4.608),
        ("m6g.medium", 0.0385),
        ("m7i.48xlarge", 9.6768),
        ("m7i-flex.large", 0.09576),
        ("c5.9xlarge", 1.53),
        ("c7g.xlarge", 0.145),
        ("r6i.4xlarge", 1.008),
        ("r7g.16xlarge", 3.4272),
    ],
)
def test_the_table_has_the_published_prices(instance_type: str, dollars: float) -> None:
    assert on_demand(instance_type) == pytest.approx(dollars)


@pytest.mark.parametrize("instance_type", ["", "t3", "t3.enormous", "p5.48xlarge", ".large"])
def test_no_price_is_made_up(instance_type: str) -> None:
    assert on_demand(instance_type) is None
    assert prices().running(replace(MACHINE, type=instance_type)) is None


def test_a_running_machine_costs_itself_its_address_and_its_disk() -> None:
    assert prices().running(MACHINE) == pytest.approx(0.0416 + 0.005 + DISK)
    assert prices().running(replace(MACHINE, public_ip=None)) == pytest.approx(0.0416 + DISK)


@pytest.mark.parametrize("state", [MachineState.PENDING, MachineState.STOPPED])
def test_a_machine_that_is_to_run_costs_the_address_that_it_will_get(state: MachineState) -> None:
    booting = replace(MACHINE, state=state, public_ip=None)
    assert prices().running(booting) == pytest.approx(0.0416 + 0.005 + DISK)
    inside = prices(associate_public_ip=False, connect_address="private")
    assert inside.running(booting) == pytest.approx(0.0416 + DISK)


def test_the_configured_price_wins_and_makes_an_unknown_type_known() -> None:
    own = prices(prices={"t3.medium": 0.03, "p5.48xlarge": 98.32, "t3.large": 0})
    assert own.running(MACHINE) == pytest.approx(0.03 + 0.005 + DISK)
    assert own.running(replace(MACHINE, type="p5.48xlarge")) == pytest.approx(98.32 + 0.005 + DISK)
    assert own.running(replace(MACHINE, type="t3.large")) == pytest.approx(0.005 + DISK)


@pytest.mark.parametrize(
    ("kind", "size", "iops", "month"),
    [
        ("gp3", 100, 0, 8.0),
        ("gp3", 100, 4_000, 8.0 + 1_000 * 0.005),
        ("gp2", 100, 0, 10.0),
        ("io1", 100, 1_000, 12.5 + 65.0),
        ("io2", 100, 1_000, 12.5 + 65.0),
    ],
)
def test_a_stopped_machine_costs_its_disk(kind: str, size: int, iops: int, month: float) -> None:
    own = prices(root_volume_type=kind, root_volume_size_gb=size, root_volume_iops=iops)
    assert own.stopped(replace(MACHINE, type="unknown.large")) == pytest.approx(month / 730)


def test_a_spot_machine_costs_at_most_the_highest_price_that_was_offered() -> None:
    spot = replace(MACHINE, spot=True)
    assert prices(spot_max_price="0.02").running(spot) == pytest.approx(0.02 + 0.005 + DISK)
    assert prices(spot_max_price="0.02").running(MACHINE) == pytest.approx(0.0416 + 0.005 + DISK)
    assert prices().running(spot) == pytest.approx(0.0416 + 0.005 + DISK)


def test_what_is_asked_for_is_priced_by_its_dearest_candidate() -> None:
    own = prices(instance_type="t3.small", instance_types=["m5.large"])
    assert own.asked(Spec("command")) == pytest.approx(0.096 + 0.005 + DISK)
    wanted = Spec("command", ec2=Ec2Overrides(instance_type="t3.small", region="eu-west-1"))
    assert own.asked(wanted) == pytest.approx(0.0208 + 0.005 + DISK)
    assert own.asked(Spec("command", ec2=Ec2Overrides(instance_type="x1.thing"))) is None
    cheap = prices(spot=True, spot_max_price="0.01")
    assert cheap.asked(Spec("command")) == pytest.approx(0.0416 + 0.005 + DISK)  # there may be no spot
    kept = Spec("command", persistence=Persistence.PERSISTENT)
    assert cheap.asked(kept) == pytest.approx(0.0416 + 0.005 + DISK)


def test_what_may_get_a_machine_without_a_price_has_none() -> None:
    assert prices(instance_types=["x1.thing"]).asked(Spec("command")) is None
    fallback = prices(instance_type="x1.thing", spot=True, spot_max_price="0.01")
    assert fallback.asked(Spec("command")) is None
