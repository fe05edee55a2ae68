"""Ways to do one thing, measured in turn, and their figures beside those of a named peer.

The ways take turns within each round, so that what else this computer does meets all of them alike.
Times differ from computer to computer; the ratios are what means something elsewhere.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

WARM_UP = 3
"""Rounds that are not counted."""

Ways = Mapping[str, Callable[[], Awaitable[object]]]


async def measure(ways: Ways, rounds: int, *, warm_up: int = WARM_UP) -> dict[str, list[float]]:
    """Seconds by way."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(warm_up + rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            took[name].append(time.perf_counter() - began)
    return {name: times[warm_up:] for name, times in took.items()}


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def report(
    title: str,
    took: Mapping[str, Sequence[float]],
    peer: str,
    aims: Mapping[str, str] | None = None,
    percents: Sequence[int] = (50, 95),
) -> None:
    """A line for each way: percentiles in ms, and their ratios to the peer's."""
    print(f"{title}; {len(took[peer])} of each, ratios to {peer}")
    width = max(len(name) for name in took)
    for name, times in took.items():
        line = f"  {name:{width}}"
        for percent in percents:
            here, there = percentile(times, percent), percentile(took[peer], percent)
            line += f"  p{percent} {here * 1000:7.2f} ms (x{here / there:.2f})"
        aim = (aims or {}).get(name)
        print(line + (f"   aim: {aim}" if aim else ""))
