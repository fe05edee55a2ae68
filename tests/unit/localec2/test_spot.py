"""What a RunInstances may ask for on the spot market, and its refusals."""

from typing import Any

import pytest

from ciab.localec2.api.faults import Faults, SpotPrice
from ciab.localec2.api.spot import asked
from ciab.localec2.api.wire import ApiError


def params(**options: str) -> dict[str, Any]:
    return {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}


def test_without_market_options_it_is_on_demand() -> None:
    assert not asked({}, "t3.medium", Faults())
    assert asked({"InstanceMarketOptions": {"MarketType": "spot"}}, "t3.medium", Faults())


@pytest.mark.parametrize(
    ("price", "accepted"), [("0.0125", True), ("0.01250", True), ("1", True), ("0.0124999", False)]
)
def test_a_price_is_compared_as_a_decimal(price: str, accepted: bool) -> None:
    faults = Faults(spot_prices=[SpotPrice("t3.*", 0.0125)])
    if accepted:
        assert asked(params(MaxPrice=price), "t3.medium", faults)
        return
    with pytest.raises(ApiError) as caught:
        asked(params(MaxPrice=price), "t3.medium", faults)
    assert caught.value.code == "SpotMaxPriceTooLow"


@pytest.mark.parametrize(
    ("market", "code"),
    [
        ({"MarketType": "capacity-block"}, "InvalidParameterValue"),
        (params(SpotInstanceType="for-ever")["InstanceMarketOptions"], "InvalidParameterValue"),
        (params(SpotInstanceType="persistent")["InstanceMarketOptions"], "UnsupportedOperation"),
        (
            params(InstanceInterruptionBehavior="hibernate")["InstanceMarketOptions"],
            "InvalidParameterCombination",
        ),
        (params(MaxPrice="NaN")["InstanceMarketOptions"], "InvalidParameterValue"),
        (params(MaxPrice="cheap")["InstanceMarketOptions"], "InvalidParameterValue"),
    ],
)
def test_anything_else_is_refused(market: dict[str, Any], code: str) -> None:
    with pytest.raises(ApiError) as caught:
        asked({"InstanceMarketOptions": market}, "t3.medium", Faults())
    assert caught.value.code == code
