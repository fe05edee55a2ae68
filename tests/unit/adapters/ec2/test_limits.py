"""The token buckets, on a clock of their own."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from ciab.adapters.ec2.limits import Limits, rate_of


class Time:
    """Passes only by sleeping; every sleeper wakes at its own moment."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def waits(time: Time, count: int, action: str = "RunInstances", region: str = "us-east-1") -> list[float]:
    """How long each of so many calls at this moment waits."""
    limits = Limits(time.monotonic, time.sleep)

    async def take() -> list[float]:
        found = []
        for _ in range(count):
            time.slept.clear()
            await limits.take(region, action)
            found.append(sum(time.slept))
        return found

    return asyncio.run(take())


def test_a_burst_goes_at_once_and_the_rest_at_the_rate_in_order() -> None:
    assert waits(Time(), 7) == [0, 0, 0, 0, 0.5, 1.0, 1.5]


def test_rates_are_within_what_ec2_documents() -> None:
    documented = {
        "RunInstances": (5, 2),
        "StartInstances": (5, 2),
        "TerminateInstances": (100, 5),
        "StopInstances": (50, 5),
        "DescribeInstances": (100, 20),
        "CreateTags": (100, 10),
        "DeleteTags": (100, 10),
        "ModifyInstanceAttribute": (50, 5),
        "DeleteVolume": (100, 5),
        "DeleteNetworkInterface": (100, 5),
    }
    for action, (burst, per_second) in documented.items():
        assert rate_of(action).burst <= burst
        assert rate_of(action).per_second <= per_second


async def test_each_action_and_region_has_its_own() -> None:
    time = Time()
    limits = Limits(time.monotonic, time.sleep)
    for region in ("us-east-1", "eu-west-1"):
        for action in ("RunInstances", "StartInstances"):
            for _ in range(4):
                await limits.take(region, action)
    assert time.slept == []


async def test_a_throttled_answer_empties_the_bucket() -> None:
    time = Time()
    limits = Limits(time.monotonic, time.sleep)
    limits.throttled("us-east-1", "RunInstances")
    await limits.take("us-east-1", "RunInstances")
    assert time.slept == [0.5]


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    action=st.sampled_from(["RunInstances", "StopInstances"]),
)
def test_in_no_span_are_there_more_calls_than_the_bucket_allows(gaps: list[float], action: str) -> None:
    time, rate = Time(), rate_of(action)
    limits = Limits(time.monotonic, time.sleep)
    sent = []

    async def run() -> None:
        for gap in gaps:
            time.now += gap
            time.slept.clear()
            await limits.take("us-east-1", action)
            sent.append(time.now + sum(time.slept))

    asyncio.run(run())
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            allowed = rate.burst + (sent[last] - sent[first]) * rate.per_second
            assert last - first + 1 <= allowed + 1e-6
