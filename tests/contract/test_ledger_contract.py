"""The port Ledger: what every ledger must do, and which spans a store writes into it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from ciab.core.errors import StaleVersion
from ciab.core.ids import SandboxId
from ciab.core.sandbox import Meter, Sandbox
from ciab.core.spec import Spec
from ciab.core.states import State
from tests.databases import Ports, a_sandbox, in_state

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


async def metered(db: Ports, *meters: Meter | None, workspace: str | None = None) -> Sandbox:
    """A sandbox that had each of these meters in turn."""
    sandbox = await db.store.add(a_sandbox(spec=Spec("command", workspace=workspace)))
    for meter in meters:
        sandbox = await db.store.save(replace(sandbox, meter=meter))
    return sandbox


async def cost(db: Ports, sandbox: Sandbox) -> float | None:
    return (await db.ledger.by_sandbox([sandbox.id])).get(sandbox.id)


async def test_a_first_meter_and_an_unchanged_one_close_nothing(db: Ports) -> None:
    meter = Meter(1.0, at(0))
    sandbox = await metered(db, None, None, meter, meter, meter)
    await db.store.save(sandbox.to(State.TERMINATING))
    assert await cost(db, sandbox) is None


async def test_a_meter_that_changes_closes_the_old_ones_span_at_its_price(db: Ports) -> None:
    sandbox = await metered(db, Meter(0.5, at(0)), Meter(0.1, at(4)), Meter(0.5, at(14)), Meter(0.0, at(16)))
    assert await cost(db, sandbox) == pytest.approx(0.5 * 4 + 0.1 * 10 + 0.5 * 2)


async def test_the_same_price_from_later_on_closes_a_span_too(db: Ports) -> None:
    sandbox = await metered(db, Meter(0.5, at(0)), Meter(0.5, at(2)))
    assert await cost(db, sandbox) == pytest.approx(1.0)


async def test_many_short_spans_lose_no_microsecond(db: Ports) -> None:
    since = NOON + timedelta(microseconds=1)
    moments = [since + timedelta(microseconds=400_001 * number) for number in range(60)]
    sandbox = await metered(db, *(Meter(3600.0 + n % 2, moment) for n, moment in enumerate(moments)))
    wanted = sum(
        (3600 + n % 2) * (later - now) / timedelta(hours=1)
        for n, (now, later) in enumerate(pairwise(moments))
    )
    assert await cost(db, sandbox) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("hours", [0, -1])
async def test_a_meter_that_begins_no_later_closes_nothing(db: Ports, hours: float) -> None:
    sandbox = await metered(db, Meter(0.5, at(0)), Meter(0.1, at(hours)))
    assert await cost(db, sandbox) is None


async def test_a_meter_that_is_taken_away_closes_its_span_now(db: Ports) -> None:
    sandbox = await metered(db)
    begun = await db.store.save(replace(sandbox, meter=Meter(3600.0, sandbox.updated_at)))
    ended = await db.store.save(replace(begun, meter=None))
    assert await cost(db, sandbox) == pytest.approx((ended.updated_at - sandbox.updated_at).total_seconds())


async def test_an_unknown_price_is_a_span_that_adds_nothing(db: Ports) -> None:
    unknown = await metered(db, Meter(None, at(0)), Meter(0.0, at(1)), workspace="w")
    partly = await metered(db, Meter(None, at(0)), Meter(2.0, at(1)), Meter(None, at(2)))
    assert await db.ledger.by_sandbox([unknown.id, partly.id]) == {unknown.id: 0.0, partly.id: 2.0}
    assert await db.ledger.by_workspace() == {"w": 0.0}
    assert await db.ledger.between(at(0), at(9)) == 2.0


async def test_a_refused_save_closes_nothing(db: Ports) -> None:
    stale = await metered(db, Meter(1.0, at(0)))
    await db.store.save(stale)
    with pytest.raises(StaleVersion):
        await db.store.save(replace(stale, meter=Meter(2.0, at(1))))
    assert await cost(db, stale) is None


async def test_only_the_sandboxes_that_are_asked_for_and_have_spans(db: Ports) -> None:
    one, other = [await metered(db, Meter(1.0, at(0)), Meter(0.0, at(n))) for n in (1, 2)]
    fresh = await metered(db, Meter(1.0, at(0)))
    assert await db.ledger.by_sandbox([]) == {}
    assert await db.ledger.by_sandbox({other.id, fresh.id, SandboxId("nobody")}) == {other.id: 2.0}
    assert await db.ledger.by_sandbox((one.id, other.id, one.id)) == {one.id: 1.0, other.id: 2.0}


async def test_any_number_of_sandboxes_can_be_asked_for(db: Ports) -> None:
    sandbox = await metered(db, Meter(1.0, at(0)), Meter(0.0, at(1)))
    many = [SandboxId(f"{number:08x}") for number in range(50_000)]
    assert await db.ledger.by_sandbox([*many, sandbox.id]) == {sandbox.id: 1.0}


async def test_workspaces_have_the_sums_of_their_sandboxes_ended_ones_too(db: Ports) -> None:
    await metered(db, Meter(1.0, at(0)), Meter(0.0, at(1)), workspace="shop")
    ended = await metered(db, Meter(1.0, at(0)), Meter(0.0, at(2)), workspace="shop")
    await db.store.save(in_state(ended, State.TERMINATED))
    await metered(db, Meter(1.0, at(0)), Meter(0.0, at(4)), workspace="it's 100 %")
    await metered(db, Meter(1.0, at(0)), Meter(0.0, at(8)))
    await metered(db, Meter(1.0, at(0)), workspace="fresh")
    assert await db.ledger.by_workspace() == {"shop": 3.0, "it's 100 %": 4.0}


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (0, 10, 4.0 + 0.5),  # all of both
        (1, 3, 2.0),  # inside one
        (-5, 1, 1.0),  # its beginning
        (3, 6.5, 1.0 + 0.75 / 2),  # the end of one and some of the other
        (4, 5, 0.0),  # between the two
        (-2, 0, 0.0),  # up to the beginning
        (8, 9, 0.0),
        (2, 2, 0.0),
        (3, 1, 0.0),
    ],
)
async def test_a_time_has_the_cost_of_what_lies_in_it(
    db: Ports, start: float, end: float, wanted: float
) -> None:
    await metered(db, Meter(1.0, at(0)), Meter(0.0, at(4)))
    await metered(db, Meter(0.25, at(5.0)), Meter(0.0, at(7.0)))
    assert await db.ledger.between(at(start), at(end)) == pytest.approx(wanted)
