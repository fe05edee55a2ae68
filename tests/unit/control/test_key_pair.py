"""The operator's own key pair: used where it is named, and never kept."""

from dataclasses import replace

import pytest

from ciab.control.reach import target_of
from ciab.core.errors import ConfigError
from ciab.core.machine import KeyPair
from ciab.core.secret import Secret
from ciab.core.states import State
from tests.unit.control.world import SITE, SPEC, World

OPS = KeyPair("ssh-ed25519 OPS", Secret("the operator's"))
NAMED = replace(SITE, login=replace(SITE.login, key_pair="ops"))


async def test_a_named_pair_lets_us_in_and_nothing_of_it_is_kept() -> None:
    world = World(place=NAMED, named={"ops": OPS})
    sandbox = await world.create()
    assert sandbox.state is State.RUNNING
    kept = await world.database.keys.get(sandbox.id)
    assert kept
    assert kept.user is None
    assert kept.host.private.reveal() == "private 0"  # the machine still proves itself by a key of its own
    assert next(world.minted) == 1
    (attempt,) = await world.database.attempts.past(sandbox.id)
    assert OPS.public in attempt.request.reveal()
    assert OPS.private.reveal() not in attempt.request.reveal()
    target = await target_of(sandbox, world.ports())
    assert (target.user_key, target.host_key) == (OPS.private, kept.host.public)


async def test_a_pair_that_is_not_there_is_refused_before_anything_is_kept() -> None:
    world = World(place=NAMED)
    with pytest.raises(ConfigError, match="ops") as refused:
        await world.desk().create(SPEC, None)
    assert refused.value.hint
    assert not world.database.store.journal
    assert not world.machines.alive()


async def test_a_pair_that_goes_missing_before_the_launch_fails_clean() -> None:
    world = World(place=NAMED, named={"ops": OPS})
    made = await world.desk().create(SPEC, None)
    world.named.clear()
    failed = await world.go_on(made)
    assert failed.state is State.FAILED
    assert failed.failure
    assert (failed.failure.step, failed.failure.code) == ("launch_machine", "config_error")
    assert not world.billable()


async def test_a_pair_that_goes_missing_later_changes_no_state() -> None:
    world = World(place=NAMED, named={"ops": OPS})
    sandbox = await world.create()
    world.named.clear()
    with pytest.raises(ConfigError):
        async with world.reach(world.desk()).visit(sandbox.id):
            pass
    assert await world.sandbox(sandbox.id) == sandbox
    assert (await world.delete(sandbox)).state is State.TERMINATED


async def test_another_configuration_changes_no_sandboxs_pair() -> None:
    world = World(place=NAMED, named={"ops": OPS})
    named = await world.create()
    world.place = SITE
    own = await world.create()
    assert (await target_of(named, world.ports())).user_key == OPS.private
    assert (await target_of(own, world.ports())).user_key != OPS.private
