import pytest

from ciab.localec2.api.limits import Limits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("action", "searched", "burst", "refill"),
    [
        ("RunInstances", False, 5, 2),
        ("StartInstances", True, 5, 2),
        ("StopInstances", True, 50, 5),
        ("TerminateInstances", True, 100, 5),
        ("CreateTags", False, 100, 10),
        ("DescribeInstances", True, 100, 20),
        ("DescribeInstances", False, 50, 10),
    ],
)
def test_a_burst_and_then_the_refill(action: str, searched: bool, burst: int, refill: int) -> None:
    clock = Clock()
    limits = Limits(clock)

    def admitted(calls: int) -> int:
        return sum(limits.admits("us-east-1", action, searched=searched, scale=1) for _ in range(calls))

    assert admitted(burst + 10) == burst
    clock.now += 1
    assert admitted(100) == refill


def test_each_region_and_action_has_a_bucket_of_its_own() -> None:
    limits = Limits(Clock())
    assert [limits.admits("us-east-1", "RunInstances", searched=False, scale=1) for _ in range(6)][
        -1
    ] is False
    assert limits.admits("eu-west-1", "RunInstances", searched=False, scale=1)
    assert limits.admits("us-east-1", "StartInstances", searched=False, scale=1)


def test_the_scale_multiplies_and_nought_is_no_limit() -> None:
    limits = Limits(Clock())
    admitted = [limits.admits("us-east-1", "RunInstances", searched=False, scale=2) for _ in range(20)]
    assert sum(admitted) == 10
    assert all(limits.admits("eu-west-1", "RunInstances", searched=False, scale=0) for _ in range(1000))
