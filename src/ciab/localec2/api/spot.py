"""Spot instances: what RunInstances may ask for, and what it is refused for.

Only one-time requests whose instances are terminated when they are interrupted: such an instance can
neither be stopped nor started.
"""

from decimal import Decimal, InvalidOperation
from typing import Any

from ciab.localec2.api.checks import Params
from ciab.localec2.api.faults import Faults
from ciab.localec2.api.wire import ApiError

_TYPES = {"one-time", "persistent"}
_INTERRUPTIONS = {"terminate", "stop", "hibernate"}


def asked(params: Params, instance_type: str, faults: Faults) -> bool:
    """Whether a spot instance is asked for. Raises ApiError, SpotMaxPriceTooLow too."""
    market = params.get("InstanceMarketOptions") or {}
    kind = market.get("MarketType", "spot" if market else None)
    if kind is None:
        return False
    if kind != "spot":
        raise ApiError("InvalidParameterValue", f"Value ({kind}) for parameter marketType is invalid.")
    options: dict[str, Any] = market.get("SpotOptions") or {}
    _check(options)
    price, wanted = faults.spot_price(instance_type), options.get("MaxPrice")
    if wanted is not None and price is not None and _price(wanted) < Decimal(str(price)):
        raise ApiError(
            "SpotMaxPriceTooLow",
            f"Your Spot request price of {wanted} is lower than the minimum required Spot request "
            f"fulfillment price of {price}.",
        )
    return True


def _check(options: Params) -> None:
    kind = options.get("SpotInstanceType", "one-time")
    interruption = options.get("InstanceInterruptionBehavior", "terminate")
    if kind not in _TYPES or interruption not in _INTERRUPTIONS:
        raise ApiError("InvalidParameterValue", f"Value ({kind}, {interruption}) for spotOptions is invalid.")
    if kind == "persistent":
        raise ApiError("UnsupportedOperation", "This local region knows one-time Spot requests only.")
    if interruption != "terminate":
        raise ApiError(
            "InvalidParameterCombination",
            f"The instance interruption behavior '{interruption}' needs a persistent Spot request.",
        )
    if "MaxPrice" in options:
        _price(options["MaxPrice"])


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal(0)
    if not price.is_finite() or price <= 0:
        raise ApiError("InvalidParameterValue", f"Value ({text}) for parameter maxPrice is invalid.")
    return price
