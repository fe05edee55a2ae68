"""The ports Keys and Attempts: what every implementation must do."""

import asyncio
from dataclasses import replace

import pytest

from ciab.core.errors import Conflict
from ciab.core.machine import Outcome, Place
from ciab.core.secret import Secret
from tests.databases import PLACE, Ports, a_sandbox, an_attempt, some_keys


async def test_keys_that_were_kept_first_stay(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    assert await db.keys.get(sandbox.id) is None
    assert await db.keys.keep(sandbox.id, some_keys("first")) == some_keys("first")
    assert await db.keys.keep(sandbox.id, some_keys("second")) == some_keys("first")
    assert await db.keys.get(sandbox.id) == some_keys("first")


async def test_of_an_operators_own_key_pair_only_the_hosts_is_kept(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    keys = replace(some_keys(), user=None)
    assert await db.keys.keep(sandbox.id, keys) == keys
    assert await db.keys.keep(sandbox.id, some_keys()) == keys
    assert await db.keys.get(sandbox.id) == keys


async def test_two_keepers_at_once_get_the_same_keys(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    kept = await asyncio.gather(*(db.keys.keep(sandbox.id, some_keys(str(n))) for n in range(5)))
    assert len(set(kept)) == 1


async def test_discarded_keys_and_requests_are_gone_and_others_stay(db: Ports) -> None:
    mine, other = await db.store.add(a_sandbox()), await db.store.add(a_sandbox())
    for sandbox in (mine, other):
        await db.keys.keep(sandbox.id, some_keys())
        await db.attempts.begin(an_attempt(sandbox.id))
    for _ in range(2):
        await db.keys.discard(mine.id)
        assert await db.keys.get(mine.id) is None
        assert [attempt.request for attempt in await db.attempts.past(mine.id)] == [Secret("")]
    assert await db.keys.get(other.id) == some_keys()
    assert list(await db.attempts.past(other.id)) == [an_attempt(other.id)]


async def test_attempts_are_listed_by_number_with_their_outcome(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    for number in (1, 2, 10):
        await db.attempts.begin(an_attempt(sandbox.id, number))
    await db.attempts.settle(an_attempt(sandbox.id, 1), Outcome.REFUSED)
    await db.attempts.settle(an_attempt(sandbox.id, 2), Outcome.LAUNCHED, "i-1")
    past = await db.attempts.past(sandbox.id)
    assert [attempt.settled_at is not None for attempt in past] == [True, True, False]
    assert [(attempt.number, attempt.outcome, attempt.machine_id) for attempt in past] == [
        (1, Outcome.REFUSED, None),
        (2, Outcome.LAUNCHED, "i-1"),
        (10, Outcome.OPEN, None),
    ]
    assert past[2] == an_attempt(sandbox.id, 10)


async def test_an_attempt_is_never_recorded_twice(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    await db.attempts.begin(an_attempt(sandbox.id))
    with pytest.raises(Conflict):
        await db.attempts.begin(an_attempt(sandbox.id))


async def test_every_place_a_launch_was_tried_in_is_known(db: Ports) -> None:
    assert list(await db.attempts.regions()) == []
    elsewhere = Place("ec2", "123456789012", "", "us-east-1")
    sandbox, other = await db.store.add(a_sandbox()), await db.store.add(a_sandbox())
    for number, place in enumerate((PLACE, elsewhere, PLACE)):
        await db.attempts.begin(an_attempt(sandbox.id, number, place))
    await db.attempts.begin(an_attempt(other.id, 1, elsewhere))
    await db.attempts.settle(an_attempt(sandbox.id, 0), Outcome.REFUSED)
    await db.keys.discard(sandbox.id)
    assert sorted(await db.attempts.regions(), key=lambda place: place.region) == [PLACE, elsewhere]
