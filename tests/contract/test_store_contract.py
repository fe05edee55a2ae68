"""The port Store: what every store must do."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ciab.core.errors import Conflict, InvalidRequest, SandboxNotFound, StaleVersion
from ciab.core.ids import SandboxId
from ciab.core.journal import Noted, StepMoved, StepStatus
from ciab.core.machine import Cause, Login, Machine, MachineImage, MachineState, Site
from ciab.core.ports import Once, Query
from ciab.core.sandbox import Failure, Held, Meter
from ciab.core.secret import Secret
from ciab.core.spec import Ec2Overrides, GitRepo, Spec
from ciab.core.states import ENDED, LIVE, State
from tests.databases import PLACE, Ports, a_sandbox, in_state

FULL_SPEC = Spec(
    "command",
    env_vars={"TOKEN": Secret("s3cret")},
    git_repos=(GitRepo(Secret("https://me:pw@example.org/r.git"), sparse_paths=("a", "b")),),
    labels={"team": "x", "kind": "y"},
    ec2=Ec2Overrides(security_group_ids=(), spot=True, spot_grace_command=("sync", "-f", "/")),
    timeout_secs=3600.5,
    idle_timeout_secs=0,
    workspace="shop",
)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def test_what_was_added_is_read_back_whole(db: Ports) -> None:
    sandbox = a_sandbox(spec=FULL_SPEC)
    assert await db.store.add(sandbox) == sandbox
    assert await db.store.get(sandbox.id) == sandbox


async def test_save_keeps_every_fact_and_counts_versions(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    changed = replace(
        sandbox.to(State.CREATING),
        failure=Failure("launch_machine", "ec2_error", "no", "do this", "console\n", "cloud-init's\n"),
        reason="idle for an hour",
        site=Site(PLACE, Login("ubuntu", 22, "public", key_pair="mine"), orphan_timeout=60.0),
        image=MachineImage("ami-1", "/dev/sda1", "x86_64", "jammy"),
        machine=a_machine(sandbox.id),
        held=Held.HIBERNATED,
        boot="a boot's id",
        release=True,
        recovered_from=SandboxId("another"),
        expires_at=NOON,
        meter=Meter(0.0416, NOON + timedelta(microseconds=1)),
    )
    saved = await db.store.save(changed)
    assert saved.version == sandbox.version + 1
    assert saved.updated_at > sandbox.updated_at
    assert saved == replace(changed, version=saved.version, updated_at=saved.updated_at)
    assert await db.store.get(sandbox.id) == saved


async def test_what_a_sandbox_no_longer_has_is_gone_after_a_save(db: Ports) -> None:
    had = a_sandbox(held=Held.FROZEN, boot="x", release=True, reason="idle", expires_at=NOON)
    sandbox = await db.store.add(had)
    blank = replace(sandbox, held=None, boot=None, release=False, reason=None, expires_at=None)
    saved = await db.store.save(blank)
    assert await db.store.get(sandbox.id) == saved


async def test_a_time_of_another_zone_is_the_same_moment(db: Ports) -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    sandbox = await db.store.add(a_sandbox(expires_at=there, meter=Meter(None, there)))
    assert await db.store.get(sandbox.id) == replace(sandbox, expires_at=NOON, meter=Meter(None, NOON))


async def test_the_slower_of_two_savers_loses_and_changes_nothing(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    won = await db.store.save(sandbox.to(State.TERMINATING))
    with pytest.raises(StaleVersion):
        await db.store.save(sandbox.to(State.CREATING), StepMoved("mint_keys", StepStatus.BEGUN))
    assert await db.store.get(sandbox.id) == won
    assert await db.store.steps(sandbox.id) == {}


async def test_of_many_savers_at_once_exactly_one_wins(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    saves = (db.store.save(sandbox, Noted("race", str(n))) for n in range(20))
    results = await asyncio.gather(*saves, return_exceptions=True)
    assert sum(isinstance(result, StaleVersion) for result in results) == 19
    assert (await db.store.get(sandbox.id)).version == sandbox.version + 1


async def test_unknown_sandboxes_are_not_found(db: Ports) -> None:
    nobody = a_sandbox()
    for call in (db.store.get(nobody.id), db.store.save(nobody), db.store.lookup(nobody.id)):
        with pytest.raises(SandboxNotFound):
            await call


@pytest.mark.parametrize("state", sorted(LIVE))
async def test_a_live_sandbox_keeps_its_name_to_itself(db: Ports, state: State) -> None:
    first = await db.store.add(in_state(a_sandbox("same"), state))
    with pytest.raises(Conflict, match=first.id):
        await db.store.add(a_sandbox("same"))


@pytest.mark.parametrize("state", sorted(ENDED))
async def test_the_name_of_an_ended_sandbox_is_free_again(db: Ports, state: State) -> None:
    sandbox = await db.store.add(a_sandbox("same"))
    await db.store.save(in_state(sandbox, state))
    again = await db.store.add(a_sandbox("same"))
    assert await db.store.lookup("same") == again


async def test_of_many_with_one_name_at_once_exactly_one_is_added(db: Ports) -> None:
    adds = (db.store.add(a_sandbox("same")) for _ in range(10))
    results = await asyncio.gather(*adds, return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 9
    assert len(await db.store.page(Query())) == 1


async def test_a_known_idempotency_key_gives_the_same_sandbox_as_it_is_now(db: Ports) -> None:
    once = Once("key", "digest")
    first = await db.store.add(a_sandbox("one"), once)
    moved = await db.store.save(first.to(State.CREATING))
    assert await db.store.add(a_sandbox("one"), once) == moved
    assert len(await db.store.page(Query())) == 1


async def test_an_idempotency_key_with_another_request_is_refused(db: Ports) -> None:
    await db.store.add(a_sandbox(), Once("key", "digest"))
    with pytest.raises(Conflict):
        await db.store.add(a_sandbox(), Once("key", "other"))
    assert len(await db.store.page(Query())) == 1


async def test_a_refused_add_does_not_use_its_idempotency_key_up(db: Ports) -> None:
    await db.store.add(a_sandbox("same"))
    with pytest.raises(Conflict):
        await db.store.add(a_sandbox("same"), Once("key", "digest"))
    other = a_sandbox("other")
    assert await db.store.add(other, Once("key", "other digest")) == other


async def test_lookup_by_id_name_and_prefix(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox("mine"))
    for reference in (sandbox.id, "mine", sandbox.id[:8], sandbox.id[:12]):
        assert await db.store.lookup(reference) == sandbox


@pytest.mark.parametrize("reference", ["", "abc", "%", "____", "nobody", "****"])
async def test_lookup_of_nothing_finds_nothing(db: Ports, reference: str) -> None:
    await db.store.add(replace(a_sandbox(), id=SandboxId("abcd0000")))
    with pytest.raises(SandboxNotFound):
        await db.store.lookup(reference)


async def test_a_prefix_of_several_ids_is_refused(db: Ports) -> None:
    for end in "12":
        await db.store.add(replace(a_sandbox(), id=SandboxId(f"abcd000{end}")))
    with pytest.raises(Conflict):
        await db.store.lookup("abcd")
    assert (await db.store.lookup("abcd0002")).id == "abcd0002"


async def test_a_name_goes_before_a_prefix_and_the_live_before_the_ended(db: Ports) -> None:
    ended = [await db.store.save(in_state(await db.store.add(a_sandbox("dead")), s)) for s in ENDED]
    assert await db.store.lookup("dead") == max(ended, key=lambda s: s.created_at)
    live = await db.store.add(a_sandbox("dead", minute=-5))
    await db.store.add(replace(a_sandbox(), id=SandboxId("dead0000")))
    assert await db.store.lookup("dead") == live


async def test_pages_are_newest_first_and_go_on_after_the_cursor(db: Ports) -> None:
    # several of the same moment, so that the order needs more than the time
    added = [await db.store.add(a_sandbox(minute=n // 3)) for n in range(10)]
    wanted = sorted(added, key=lambda s: (s.created_at, s.id), reverse=True)
    seen = list(await db.store.page(Query(limit=3)))
    while page := await db.store.page(Query(limit=3, cursor=seen[-1].id)):
        seen += page
    assert seen == wanted


async def test_a_cursor_that_is_no_sandbox_is_refused(db: Ports) -> None:
    with pytest.raises(InvalidRequest):
        await db.store.page(Query(cursor=SandboxId("nobody")))


async def test_pages_by_state_provider_and_labels(db: Ports) -> None:
    one = await db.store.add(a_sandbox(spec=FULL_SPEC))
    two = await db.store.add(a_sandbox(spec=Spec("codex", labels={"team": "x"})))
    two = await db.store.save(two.to(State.CREATING))
    page = db.store.page
    assert await page(Query(states=frozenset({State.CREATING}))) == [two]
    assert await page(Query(states=frozenset())) == []
    assert await page(Query(provider="command")) == [one]
    assert await page(Query(labels={"team": "x"})) == [two, one]
    assert await page(Query(labels={"team": "x", "kind": "y"})) == [one]
    assert await page(Query(labels={"team": "y"})) == []


async def test_labels_follow_a_changed_spec(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox(spec=FULL_SPEC))
    changed = await db.store.save(replace(sandbox, spec=replace(FULL_SPEC, labels={"new": "1"})))
    assert await db.store.page(Query(labels={"team": "x"})) == []
    assert await db.store.page(Query(labels={"new": "1"})) == [changed]


async def test_steps_have_their_last_status(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    sandbox = await db.store.save(sandbox, StepMoved("mint_keys", StepStatus.BEGUN))
    await db.store.save(
        sandbox,
        StepMoved("mint_keys", StepStatus.DONE, elapsed_ms=3),
        Noted("alarm", "not a step"),
        StepMoved("choose_image", StepStatus.BEGUN),
    )
    steps = await db.store.steps(sandbox.id)
    assert steps == {"mint_keys": StepStatus.DONE, "choose_image": StepStatus.BEGUN}


@pytest.mark.parametrize("state", sorted(State))
async def test_a_note_leaves_the_sandbox_as_it_is_in_any_state(db: Ports, state: State) -> None:
    sandbox = await db.store.add(in_state(a_sandbox(), state))
    await db.store.note(sandbox.id, Noted("alarm", "still there", shown=True))
    assert await db.store.get(sandbox.id) == sandbox
    assert (await db.store.save(sandbox)).version == sandbox.version + 1
    assert await db.store.steps(sandbox.id) == {}


async def test_a_note_about_what_no_sandbox_here_has(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    await db.store.note(None, Noted("orphan_ended", "i-1 was nobody's", shown=True))
    assert await db.store.get(sandbox.id) == sandbox


async def test_a_note_about_an_unknown_sandbox_is_refused(db: Ports) -> None:
    with pytest.raises(SandboxNotFound):
        await db.store.note(a_sandbox().id, Noted("alarm", "about nobody"))


def a_machine(sandbox_id: SandboxId) -> Machine:
    return Machine(
        id="i-1",
        sandbox_id=sandbox_id,
        state=MachineState.STOPPED,
        type="t3.medium",
        region="eu-west-1",
        zone="eu-west-1a",
        image="ami-1",
        public_ip=None,
        private_ip="10.0.0.1",
        launched_at=NOON,
        reason="Client.InstanceInitiatedShutdown",
        cause=Cause.ITSELF,
        spot=True,
        hibernates=True,
    )
