"""The place check."""

from dataclasses import replace

import pytest

from ciab.core.errors import ConfigError
from ciab.core.ids import SandboxId
from ciab.core.machine import Login, Place, Site
from ciab.core.sandbox import Sandbox
from ciab.core.states import State
from ciab.server.places import check_places
from ciab.testing.store import utc_now
from tests.unit.control.world import SPEC

HOME = Place("ec2", "111111111111", "", "us-east-1")


def sandbox(name: str, place: Place | None) -> Sandbox:
    site = Site(place, Login("ubuntu", 22, "public")) if place else None
    return Sandbox(SandboxId(f"id-{name}"), name, SPEC, State.RUNNING, utc_now(), utc_now(), site=site)


def test_other_regions_and_sandboxes_without_a_place_are_no_obstacle() -> None:
    check_places([sandbox("a", None), sandbox("b", replace(HOME, region="eu-west-1"))], HOME)


@pytest.mark.parametrize(
    "place",
    [
        replace(HOME, backend="local", endpoint="local:/data/ciab.region"),
        replace(HOME, account="222222222222"),
        replace(HOME, endpoint="http://127.0.0.1:4566"),
    ],
)
def test_another_backend_account_or_endpoint_is_refused_by_name(place: Place) -> None:
    with pytest.raises(ConfigError, match=r"sandbox a \(id-a\)") as refused:
        check_places([sandbox("a", place), sandbox("b", HOME)], HOME)
    assert "nothing was changed" in refused.value.message
    assert "id-b" not in refused.value.message


def test_many_are_counted() -> None:
    elsewhere = [sandbox(f"n{number}", replace(HOME, account="2")) for number in range(8)]
    with pytest.raises(ConfigError, match=r"8 sandboxes: .* and 3 more"):
        check_places(elsewhere, HOME)
