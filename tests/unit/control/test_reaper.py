"""The sweep: what it takes, when, how much of it at once, and that every kill is explained first."""

from dataclasses import replace

import pytest

from ciab.control.policy import Policy
from ciab.control.reaper import Reaper
from ciab.core.errors import RuntimeRejected, RuntimeUnavailable
from ciab.core.journal import Noted
from tests.unit.control.things import NOBODY, OTHER, Things, actions, ended, swept, thing, twice
from tests.unit.control.world import SITE, World


async def crowd(world: World, things: Things) -> tuple[set[str], set[str]]:
    """Ten of each kind: those of ended sandboxes, those of unknown ones, and what no sweep may take."""
    for number in range(10):
        await world.create()
        things.put(thing(world, f"orphan-{number}", (await ended(world)).id))
        things.put(thing(world, f"unknown-{number}", f"unknown-{number}"))
        things.put(thing(world, f"foreign-{number}", f"foreign-{number}"), OTHER)
        things.put(thing(world, f"untagged-{number}", ""), NOBODY)
    return {f"orphan-{number}" for number in range(10)}, {f"unknown-{number}" for number in range(10)}


async def test_a_sweep_by_itself_takes_exactly_what_ended_sandboxes_left() -> None:
    world, things = swept()
    orphans, unknown = await crowd(world, things)
    reaper = world.reaper()
    first = await reaper.sweep()
    assert not things.ended
    assert set(actions(first)) == orphans | unknown
    second = actions(await reaper.sweep())
    assert set(things.ended) == orphans
    assert {second[one] for one in unknown} == {"reported"}
    assert len(world.billable()) == 10
    assert actions(await reaper.sweep()) == dict.fromkeys(unknown, "reported")


async def test_a_users_sweep_takes_the_unknown_ones_too_and_a_dry_one_nothing() -> None:
    world, things = swept()
    orphans, unknown = await crowd(world, things)
    dry = await world.reaper().collect(dry_run=True)
    assert actions(dry) == dict.fromkeys(orphans | unknown, "would_end")
    assert not things.ended
    done = await world.reaper().collect(dry_run=False)
    assert actions(done) == dict.fromkeys(orphans | unknown, "ended")
    assert set(things.ended) == orphans | unknown
    assert len(world.billable()) == 10
    assert things.explained == [True] * 20
    assert [e.action for e in world.database.store.journal[None] if isinstance(e, Noted)] == ["reaped"] * 10


async def test_a_users_sweep_of_another_owner_takes_that_owners_only() -> None:
    world, things = swept()
    await crowd(world, things)
    done = await world.reaper().collect(dry_run=False, owner=OTHER)
    assert actions(done) == {f"foreign-{number}": "ended" for number in range(10)}


async def test_one_sweep_takes_so_many_and_the_next_ones_the_rest() -> None:
    world, things = swept(Policy(max_per_sweep=3))
    sandbox = await ended(world)
    for number in range(7):
        things.put(thing(world, f"orphan-{number}", sandbox.id))
    reaper = world.reaper()
    await reaper.sweep()
    counts = []
    for _ in range(4):
        await reaper.sweep()
        counts.append(len(things.ended))
    assert counts == [3, 6, 7, 7]


@pytest.mark.parametrize("lost", [False, True])
async def test_a_kill_is_explained_before_it_is_done_and_tried_again_when_it_fails(lost: bool) -> None:
    world, things = swept()
    sandbox = await ended(world)
    things.put(thing(world, "orphan", sandbox.id))
    if lost:
        things.lose_next.add("end")
    else:
        things.fail_next["end"] = RuntimeRejected("no permission")
    reaper = world.reaper()
    (verdict,) = await twice(world, reaper)
    assert verdict.action == "failed"
    await reaper.sweep()
    assert things.ended == ["orphan"]
    assert set(things.explained) == {True}
    (reason, *_) = [e.message for e in world.database.store.journal[sandbox.id] if isinstance(e, Noted)]
    assert reason == f"machine orphan in us-east-1: sandbox {sandbox.name} is terminated"


async def test_every_region_ever_used_is_swept_and_a_silent_one_stops_no_other() -> None:
    world, things = swept()
    regions = ("us-east-1", "eu-west-1", "ap-south-1")
    for region in regions:
        world.place = replace(SITE, place=replace(SITE.place, region=region))
        things.put(thing(world, f"orphan-{region}", (await ended(world)).id, region=region))
    world.place = replace(SITE, place=replace(SITE.place, account="111111111111", region="sa-east-1"))
    await ended(world)  # elsewhere: these credentials say nothing about it
    things.blind.add("eu-west-1")
    await twice(world, world.reaper())
    assert set(things.looked) == set(regions)
    assert sorted(things.ended) == ["orphan-ap-south-1", "orphan-us-east-1"]
    with pytest.raises(RuntimeUnavailable, match="eu-west-1") as refused:
        await world.reaper().collect(dry_run=False)
    assert refused.value.hint == "nothing was done; try again"
    things.blind.clear()
    await world.reaper().collect(dry_run=False)
    assert len(things.ended) == 3


async def test_the_next_life_knows_nothing_of_the_last_ones_looks() -> None:
    world, things = swept()
    things.put(thing(world, "orphan", (await ended(world)).id))
    await world.reaper().sweep()
    await world.reaper().sweep()
    assert not things.ended


async def test_a_lost_databases_things_are_also_looked_for_where_the_configuration_leads() -> None:
    world, things = swept()
    things.put(thing(world, "unknown", "of-a-lost-database", region="eu-west-1"))
    reaper = Reaper(world.ports(), world.database.owner, SITE.place, ["eu-west-1"])
    assert not await twice(world, reaper)
    assert set(things.looked) == {"us-east-1"}
    assert actions(await reaper.collect(dry_run=False)) == {"unknown": "ended"}
