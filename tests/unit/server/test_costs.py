"""What sandboxes cost, over HTTP, and budgets that are used up."""

from typing import Any

from ciab.control.policy import Budgets, Policy
from ciab.testing.prices import FakePrices
from tests.unit.control.world import World
from tests.unit.server.desk import API, Desk, desk_over

COSTS = "/api/v1/costs"
HOUR = 3600.0


async def report(desk: Desk) -> dict[str, Any]:
    answer = await desk.http.get(COSTS)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def near(amount: float, expected: float) -> bool:
    """Some seconds pass while a machine comes up."""
    return abs(amount - expected) < 0.05


async def test_each_sandbox_shows_what_it_has_cost(desk: Desk) -> None:
    desk.world.prices.usual = 1.0
    await desk.create(name="one")
    desk.world.clock.now += 2 * HOUR
    shown = (await desk.http.get(f"{API}/one")).json()["cost"]
    assert near(shown["usd"], 2.0)
    assert (shown["usd_hour"], shown["currency"]) == (1.0, "USD")
    [listed] = (await desk.http.get(API)).json()
    assert listed["cost"] == shown


async def test_the_report_has_sandboxes_workspaces_today_and_budgets() -> None:
    budgets = Budgets(per_sandbox=10.0, per_workspace=20.0, per_day=30.0)
    async with desk_over(World(policy=Policy(budgets=budgets), prices=FakePrices(1.0))) as desk:
        await desk.create(name="one", workspace="web")
        await desk.create(name="two")
        desk.world.clock.now += HOUR
        told = await report(desk)
        by_name = {one["name"]: one for one in told["sandboxes"]}
        assert set(by_name) == {"one", "two"}
        assert (by_name["one"]["workspace"], by_name["two"]["workspace"]) == ("web", None)
        assert (by_name["one"]["state"], by_name["one"]["cost"]["usd_hour"]) == ("running", 1.0)
        assert near(by_name["one"]["cost"]["usd"], 1.0)
        assert near(told["today_usd"], 2.0)
        assert list(told["workspaces"]) == ["web"]
        assert near(told["workspaces"]["web"], 1.0)
        assert told["budgets"] == {"per_sandbox": 10.0, "per_workspace": 20.0, "per_day": 30.0}
        assert told["currency"] == "USD"


async def test_what_no_price_is_known_for_is_no_number() -> None:
    async with desk_over(World(prices=FakePrices(None))) as desk:
        shown = await desk.create(name="one")
        assert shown["cost"] == {"usd": None, "usd_hour": None, "currency": "USD"}
        assert (await report(desk))["today_usd"] == 0


async def test_nothing_is_made_over_a_budget() -> None:
    policy = Policy(budgets=Budgets(per_workspace=1.0))
    async with desk_over(World(policy=policy, prices=FakePrices(1.0))) as desk:
        await desk.create(name="one", workspace="web")
        desk.world.clock.now += 2 * HOUR
        body = {"agent_provider": "command", "workspace": "web"}
        refused = await desk.http.post(API, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "budget_exceeded")
        assert "$1.00" in refused.json()["error"]["message"]
        other = await desk.http.post(API, json={**body, "workspace": "other"})
        assert other.status_code == 202
