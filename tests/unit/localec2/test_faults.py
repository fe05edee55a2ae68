import json

import pytest

from ciab.localec2.api.faults import Faults, FaultsError, first, parse, shown


def test_what_is_not_given_is_the_default() -> None:
    made = parse('{"pending_secs": 2}')
    assert made.pending_secs == 2.0
    assert made.rate_scale == Faults().rate_scale == 1.0
    assert parse("{}") == Faults()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"pendig_secs": 1}', "pendig_secs"),
        ('{"lose": [{"acton": "RunInstances"}]}', "acton"),
        ('{"capacity": [{"types": "t3.medium"}]}', "types"),
        ('{"spot_prices": [{"cost": 1}]}', "cost"),
        ('{"quota": {"cpus": 1}}', "cpus"),
        ('{"lose": {"action": "RunInstances"}}', "lose"),
        ('{"pending_secs": "soon"}', "pending_secs"),
        ('{"rate_scale": -1}', "rate_scale"),
        ('{"visible_after": true}', "visible_after"),
        ("[]", "object"),
        ("{", "JSON"),
    ],
)
def test_anything_else_is_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(FaultsError, match=word):
        parse(text)


def test_a_rule_passes_some_calls_then_acts_so_often() -> None:
    made = parse('{"lose": [{"action": "Run*", "skip": 1, "times": 2}]}')
    acted = [first(made.lose, "RunInstances") is not None for _ in range(5)]
    assert acted == [False, True, True, False, False]


def test_a_rule_can_act_on_every_third_call() -> None:
    made = parse('{"throttle": [{"every": 3, "skip": 1, "times": 2}]}')
    acted = [first(made.throttle, "RunInstances") is not None for _ in range(10)]
    assert [place for place, hit in enumerate(acted) if hit] == [3, 6]


def test_a_document_that_is_shown_and_given_back_goes_on_counting() -> None:
    made = parse('{"throttle": [{"every": 2}], "spot_prices": [{"type": "t3.*", "price": 0.01}]}')
    assert first(made.throttle, "RunInstances") is None
    again = parse(json.dumps(shown(made)))
    assert again == made
    assert first(again.throttle, "RunInstances") is not None


def test_a_rule_counts_only_its_own_action() -> None:
    made = parse('{"error": [{"action": "RunInstances", "times": 1}]}')
    assert first(made.error, "DescribeInstances") is None
    assert first(made.error, "RunInstances") is not None
    assert shown(made)["error"][0]["times"] == 0


def test_a_shortage_is_of_a_type_and_a_zone() -> None:
    made = parse('{"capacity": [{"type": "t3.*", "zone": "us-east-1a"}]}')
    assert made.shortage("t3.large", "us-east-1a") is not None
    assert made.shortage("t3.large", "us-east-1b") is None
    assert made.shortage("m5.large", "us-east-1a") is None


def test_a_shortage_can_be_of_one_market() -> None:
    made = parse('{"capacity": [{"market": "spot"}]}')
    assert made.shortage("t3.large", "us-east-1a", "spot") is not None
    assert made.shortage("t3.large", "us-east-1a") is None


def test_the_first_price_of_a_type_counts() -> None:
    made = parse('{"spot_prices": [{"type": "t3.large", "price": 2}, {"type": "t3.*", "price": 1}]}')
    assert (made.spot_price("t3.large"), made.spot_price("t3.small"), made.spot_price("m5.large")) == (
        2,
        1,
        None,
    )


def test_actions_are_denied_by_pattern() -> None:
    made = parse('{"denied": ["Describe*", "RunInstances"]}')
    assert made.denies("DescribeVolumes") and made.denies("RunInstances")
    assert not made.denies("StopInstances")
