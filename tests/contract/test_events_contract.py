"""The port Events: what every implementation must do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from ciab.core.events import StreamEvent
from ciab.core.ids import SandboxId
from ciab.core.journal import Noted, StepMoved, StepStatus
from ciab.core.sandbox import Failure, Sandbox
from ciab.core.states import State
from tests.databases import Ports, a_sandbox, in_state


async def take(events: AsyncIterator[StreamEvent], count: int) -> list[StreamEvent]:
    async with asyncio.timeout(20):
        return [await anext(events) for _ in range(count)]


async def first(db: Ports, sandbox_id: SandboxId, count: int, after: int = 0) -> list[StreamEvent]:
    async with aclosing(db.events.follow(sandbox_id, after)) as events:  # type: ignore[type-var]  # a generator
        return await take(events, count)


async def with_steps(db: Ports, sandbox: Sandbox, count: int) -> Sandbox:
    for number in range(count):
        sandbox = await db.store.save(sandbox, StepMoved(f"step-{number}", StepStatus.BEGUN))
    return sandbox


async def test_a_save_shows_as_steps_then_the_change_of_state(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    done = StepMoved("mint_keys", StepStatus.DONE, "made", 12)
    await db.store.save(sandbox.to(State.CREATING), done, Noted("note", "is no event"))
    events = await first(db, sandbox.id, 3)
    assert [(event.event_type, dict(event.data)) for event in events] == [
        ("sandbox_state_changed", {"from": None, "to": "pending", "failure": None, "reason": None}),
        ("provisioning_step", {"step": "mint_keys", "status": "done", "message": "made", "elapsed_ms": 12}),
        ("sandbox_state_changed", {"from": "pending", "to": "creating", "failure": None, "reason": None}),
    ]
    assert {event.sandbox_id for event in events} == {sandbox.id}
    assert events[0].timestamp <= events[1].timestamp


async def test_a_failure_is_in_the_stream(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    failure = Failure("launch_machine", "ec2_error", "no such image", "give another")
    await db.store.save(sandbox.to(State.TERMINATING, failure))
    _, changed, failed = await first(db, sandbox.id, 3)
    told = {
        "step": "launch_machine",
        "code": "ec2_error",
        "message": "no such image",
        "hint": "give another",
    }
    assert changed.data["failure"] == told
    assert (failed.event_type, failed.data) == ("provisioning_failed", {"failure": told})


async def test_a_reason_and_notes_for_the_user_are_in_the_stream(db: Ports) -> None:
    sandbox = await db.store.add(in_state(a_sandbox(), State.RUNNING))
    warned = Noted("budget_near", "80 % is spent", shown=True)
    await db.store.save(sandbox.to(State.STOPPING, reason="over budget"), warned)
    _, warning, stopping = await first(db, sandbox.id, 3)
    assert (warning.event_type, dict(warning.data)) == (
        "sandbox_warning",
        {"code": "budget_near", "message": "80 % is spent"},
    )
    assert stopping.data["reason"] == "over budget"


async def test_a_note_by_itself_is_told_only_when_it_is_to_be_shown(db: Ports) -> None:
    sandbox, other = await db.store.add(a_sandbox()), await db.store.add(a_sandbox())
    following = asyncio.create_task(first(db, sandbox.id, 3))
    await db.store.note(None, Noted("orphan_ended", "i-1", shown=True))
    await db.store.note(sandbox.id, Noted("hidden", "for the journal"))
    await db.store.note(other.id, Noted("elsewhere", "another's", shown=True))
    for word in ("one", "two"):
        await db.store.note(sandbox.id, Noted(word, "look", shown=True))
    _, *told = await following
    assert [(event.event_type, event.data["code"]) for event in told] == [
        ("sandbox_warning", "one"),
        ("sandbox_warning", "two"),
    ]
    assert await first(db, sandbox.id, 2, after=told[0].id - 1) == told


async def test_a_refused_save_shows_nowhere(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    saved = await db.store.save(sandbox.to(State.CREATING))
    results = await asyncio.gather(db.store.save(sandbox.to(State.TERMINATING)), return_exceptions=True)
    await db.store.save(saved.to(State.RUNNING))
    events = await first(db, sandbox.id, 4)
    assert isinstance(results[0], Exception)
    assert [event.data.get("to") for event in events] == ["pending", "creating", "running", None]


async def test_kept_then_live_events_come_once_each_and_in_order(db: Ports) -> None:
    sandbox, other = await db.store.add(a_sandbox()), await db.store.add(a_sandbox())
    sandbox = await with_steps(db, sandbox, 20)
    following = asyncio.create_task(first(db, sandbox.id, 61))
    both = (with_steps(db, sandbox, 40), with_steps(db, other, 40))
    await asyncio.gather(*both)
    events = await following
    steps = [event.data["step"] for event in events[1:]]
    assert steps == [f"step-{n}" for n in range(20)] + [f"step-{n}" for n in range(40)]
    assert [event.id for event in events] == sorted({event.id for event in events})


async def test_following_goes_on_after_any_event(db: Ports) -> None:
    sandbox = await with_steps(db, await db.store.add(a_sandbox()), 5)
    events = await first(db, sandbox.id, 6)
    for place, event in enumerate(events[:-1]):
        assert await first(db, sandbox.id, 5 - place, after=event.id) == events[place + 1 :]


async def test_many_followers_see_the_same(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    following = [asyncio.create_task(first(db, sandbox.id, 31)) for _ in range(20)]
    await with_steps(db, sandbox, 30)
    seen = await asyncio.gather(*following)
    assert all(events == seen[0] for events in seen)


async def test_a_follower_that_stands_still_holds_nobody_up(db: Ports) -> None:
    sandbox = await db.store.add(a_sandbox())
    async with aclosing(db.events.follow(sandbox.id, 0)) as slow:  # type: ignore[type-var]  # a generator
        begun = await take(slow, 1)
        await with_steps(db, sandbox, 10)
        assert len(await first(db, sandbox.id, 11)) == 11
        assert begun + await take(slow, 10) == await first(db, sandbox.id, 11)


async def test_oldest(db: Ports) -> None:
    sandbox = a_sandbox()
    assert await db.events.oldest(sandbox.id) is None
    await db.store.add(sandbox)
    assert await db.events.oldest(sandbox.id) == (await first(db, sandbox.id, 1))[0].id
