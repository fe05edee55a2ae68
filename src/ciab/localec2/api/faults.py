"""Faults that are asked for: what the region does badly, as AWS sometimes does.

The document is one JSON object; every key may be left out, and an unknown one is refused:

    {"visible_after": 0.1,          seconds until a new instance is visible to other calls than its launch
     "pending_secs": 0.2, "stopping_secs": 0.2, "shutting_down_secs": 0.2,     how long these states last
     "terminated_secs": 3600,       how long terminated instances stay visible
     "rate_scale": 1.0,             AWS's rate limits times this; 0: no limits
     "capacity": [{"type": "t3.medium", "zone": "us-east-1a", "market": "spot",
                   "code": "InsufficientInstanceCapacity"}],
     "spot_prices": [{"type": "t3.*", "price": 0.0125}],    dollars an hour; a lower MaxPrice is refused
     "denied": ["RunInstances"],    actions (patterns) answered with UnauthorizedOperation
     "quota": {"vcpus": 8, "instances": 20},                     either may be left out; null: none
     "missing_profiles": ["name"],  instance profiles that do not exist
     "lose": [{"action": "RunInstances", "times": 2}],    work done, connection closed without answer
     "error": [{"action": "*", "code": "InternalError", "status": 500, "times": 1}],       before the work
     "throttle": [{"action": "Describe*", "times": 3}],          RequestLimitExceeded, before the work
     "delay": [{"action": "RunInstances", "secs": 1.0, "when": "after"}],      or "before" the work
     "start_fails": [{"times": 1, "message": "..."}],       machines that do not boot; action: their type
     "hibernation_fails": [{"times": 1}]}       a plain shutdown instead, without a word; action: their type

In `capacity` a missing type, zone or market ("spot", "on-demand") means every one. In the lists of rules
`action` is a pattern ("*" by default), `times` how often it happens (for ever by default), `skip` how many
calls pass first, `every` which of the others it happens to: 2 is every second one.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any


class FaultsError(Exception):
    """The document of faults is not one; the message says where."""


@dataclass(slots=True)
class Rule:
    action: str = "*"
    times: int | None = None
    skip: int = 0
    every: int = 1
    passed: int = 0
    """How many it has let pass since it happened last."""
    secs: float = 0.0
    when: str = "after"
    code: str = "InternalError"
    status: int = 500
    message: str = "An internal error has occurred"

    def takes(self, action: str) -> bool:
        """Whether the rule acts on this call; counts it."""
        if self.times == 0 or not fnmatchcase(action, self.action):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.passed += 1
        if self.passed < self.every:
            return False
        self.passed = 0
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(frozen=True, slots=True)
class Shortage:
    type: str = "*"
    zone: str = "*"
    market: str = "*"
    code: str = "InsufficientInstanceCapacity"


@dataclass(frozen=True, slots=True)
class SpotPrice:
    type: str = "*"
    price: float = 0.0


@dataclass(frozen=True, slots=True)
class Quota:
    vcpus: int | None = None
    instances: int | None = None


@dataclass(slots=True)
class Faults:
    visible_after: float = 0.1
    pending_secs: float = 0.2
    stopping_secs: float = 0.2
    shutting_down_secs: float = 0.2
    terminated_secs: float = 3600.0
    rate_scale: float = 1.0
    capacity: list[Shortage] = field(default_factory=list)
    spot_prices: list[SpotPrice] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    quota: Quota | None = None
    missing_profiles: list[str] = field(default_factory=list)
    lose: list[Rule] = field(default_factory=list)
    error: list[Rule] = field(default_factory=list)
    throttle: list[Rule] = field(default_factory=list)
    delay: list[Rule] = field(default_factory=list)
    start_fails: list[Rule] = field(default_factory=list)
    hibernation_fails: list[Rule] = field(default_factory=list)

    def shortage(self, instance_type: str, zone: str, market: str = "on-demand") -> Shortage | None:
        asked = (instance_type, zone, market)
        found = (s for s in self.capacity if all(map(fnmatchcase, asked, (s.type, s.zone, s.market))))
        return next(found, None)

    def spot_price(self, instance_type: str) -> float | None:
        """The first that is set for the type."""
        return next((s.price for s in self.spot_prices if fnmatchcase(instance_type, s.type)), None)

    def denies(self, action: str) -> bool:
        return any(fnmatchcase(action, pattern) for pattern in self.denied)


def first(rules: list[Rule], action: str) -> Rule | None:
    """The first rule that acts on this call; rules before it that match are not counted."""
    return next((rule for rule in rules if rule.takes(action)), None)


def parse(text: str) -> Faults:
    """Raises FaultsError on anything that is not such a document."""
    try:
        document = json.loads(text or "{}")
    except ValueError as exc:
        raise FaultsError(f"the faults are not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise FaultsError("the faults must be one JSON object")
    _known(document, Faults, "faults")
    made = Faults()
    for key, value in document.items():
        setattr(made, key, _value(key, value))
    return made


def shown(faults: Faults) -> dict[str, Any]:
    """The document as it stands, with what its rules have counted; it can be given back as it is."""
    return asdict(faults)


_ITEMS: Mapping[str, type[Rule] | type[Shortage] | type[SpotPrice]] = {
    "capacity": Shortage,
    "spot_prices": SpotPrice,
    **dict.fromkeys(("lose", "error", "throttle", "delay", "start_fails", "hibernation_fails"), Rule),
}


def _value(key: str, value: Any) -> Any:
    if key in _ITEMS:
        return [_made(_ITEMS[key], item, key) for item in _listed(key, value)]
    if key in {"denied", "missing_profiles"}:
        return [str(item) for item in _listed(key, value)]
    if key == "quota":
        return None if value is None else _made(Quota, value, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise FaultsError(f"{key} must be a number, 0 or more, not {value!r}")
    return float(value)


def _listed(key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FaultsError(f"{key} must be a list, not {value!r}")
    return value


def _made(kind: type[Any], item: Any, where: str) -> Any:
    if not isinstance(item, dict):
        raise FaultsError(f"an entry of {where} must be an object, not {item!r}")
    _known(item, kind, where)
    return kind(**item)


def _known(document: dict[str, Any], kind: type[Any], where: str) -> None:
    names = [f.name for f in fields(kind)]
    for key in document:
        if key not in names:
            raise FaultsError(f"unknown key {key!r} in {where}; known: {', '.join(names)}")
