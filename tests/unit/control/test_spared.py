"""What no sweep takes: what is young, kept, in use, or has changed at the last moment."""

from dataclasses import replace

import pytest

from ciab.core.errors import RuntimeRejected
from ciab.core.machine import RemainKind
from ciab.core.states import State
from tests.unit.control.things import OLD, OTHER, actions, ended, swept, thing, twice


@pytest.mark.parametrize("by_user", [False, True])
async def test_what_is_young_is_spared_until_it_is_not(by_user: bool) -> None:
    world, things = swept()
    things.put(thing(world, "young", (await ended(world)).id, age=0))
    reaper = world.reaper()
    await twice(world, reaper)
    for seconds, action in ((10.0, "spared"), (world.policy.grace, "ended")):
        world.clock.now += seconds
        verdicts = await (reaper.collect(dry_run=False) if by_user else reaper.sweep())
        assert actions(verdicts) == {"young": action}


async def test_what_the_provider_gives_no_age_is_as_old_as_it_was_seen() -> None:
    world, things = swept()
    interface = replace(thing(world, "eni-1", (await ended(world)).id), born_at=None)
    things.put(replace(interface, kind=RemainKind.INTERFACE, state="available"))
    reaper = world.reaper()
    assert actions(await twice(world, reaper)) == {"eni-1": "spared"}
    world.clock.now += world.policy.grace
    assert actions(await reaper.sweep()) == {"eni-1": "ended"}


async def test_another_owners_things_age_too_between_two_sweeps_of_their_own() -> None:
    world, things = swept()
    interface = replace(thing(world, "eni-1", "foreign"), kind=RemainKind.INTERFACE, born_at=None)
    things.put(interface, OTHER)
    reaper = world.reaper()
    assert actions(await reaper.collect(dry_run=False, owner=OTHER)) == {"eni-1": "spared"}
    for _ in range(3):  # our own sweeps see nothing of it
        world.clock.now += world.policy.sweep_interval
        assert not await reaper.sweep()
    assert actions(await reaper.collect(dry_run=False, owner=OTHER)) == {"eni-1": "ended"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"keep": True}, "ciab-keep"),
        ({"kind": RemainKind.VOLUME, "free": False, "state": "in-use"}, "in-use"),
        ({"build_id": "build-7"}, "build-7"),
    ],
    ids=["keep", "attached", "build"],
)
async def test_what_is_kept_attached_or_being_built_is_spared(change: dict[str, object], word: str) -> None:
    world, things = swept()
    things.put(replace(thing(world, "it", (await ended(world)).id), **change))  # type: ignore[arg-type]  # one field of it
    reaper = world.reaper()
    for verdicts in (await twice(world, reaper), await reaper.collect(dry_run=False)):
        assert actions(verdicts) == {"it": "spared"}
        assert word in verdicts[0].reason
    assert not things.ended


async def test_a_volume_of_a_live_sandbox_is_not_even_mentioned() -> None:
    world, things = swept()
    things.put(replace(thing(world, "vol-1", (await world.create()).id), kind=RemainKind.VOLUME))
    assert not await world.reaper().collect(dry_run=False)


@pytest.mark.parametrize("change", ["gone", "kept", "attached"])
async def test_what_has_changed_since_the_look_is_spared(change: str) -> None:
    world, things = swept()
    remain = thing(world, "vol-1", (await ended(world)).id)
    things.put(remain)
    things.becomes = replace(remain, keep=change == "kept", free=change != "attached")
    things.vanishes = change == "gone"
    assert actions(await world.reaper().collect(dry_run=False)) == {"vol-1": "spared"}
    assert not things.ended
    assert not things.explained


async def test_what_fails_or_moves_or_rests_is_live_to_a_sweep() -> None:
    world, _ = swept()
    sandbox = await world.create()
    await world.ask("stop", sandbox)
    await world.desk().start(sandbox.id)
    world.clock.now += OLD
    assert not await twice(world, world.reaper())
    world.machines.fail_next["start"] = RuntimeRejected("no")
    assert (await world.go_on(sandbox)).state is State.STOPPED
    assert not await twice(world, world.reaper())
    assert len(world.billable()) == 1
