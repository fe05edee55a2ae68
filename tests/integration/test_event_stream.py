"""Following a stream in a real file: slow followers, retention, restarts."""

import asyncio
from pathlib import Path

from ciab.adapters.db.live import RING_SIZE
from ciab.core.journal import StepMoved, StepStatus
from ciab.core.sandbox import Sandbox
from tests.databases import Ports, a_sandbox, database


async def with_steps(db: Ports, sandbox: Sandbox, count: int, *, at_once: int = 1) -> Sandbox:
    for begin in range(0, count, at_once):
        steps = [StepMoved(f"{number}", StepStatus.BEGUN) for number in range(begin, begin + at_once)]
        sandbox = await db.store.save(sandbox, *steps)
    return sandbox


async def test_a_follower_slower_than_its_ring_misses_nothing(tmp_path: Path) -> None:
    async with database("sqlite", tmp_path) as db:
        sandbox = await db.store.add(a_sandbox())
        slow = db.events.follow(sandbox.id, 0)
        assert (await anext(slow)).event_type == "sandbox_state_changed"
        behind = RING_SIZE * 2 + 200
        sandbox = await with_steps(db, sandbox, behind, at_once=100)
        async with asyncio.timeout(30):
            read = [(await anext(slow)).data["step"] for _ in range(behind)]
            assert read == [str(number) for number in range(behind)]
            await with_steps(db, sandbox, 3)
            assert [(await anext(slow)).data["step"] for _ in range(3)] == ["0", "1", "2"]
        await slow.aclose()


async def test_a_follower_that_reads_while_others_write_sees_each_event_once(tmp_path: Path) -> None:
    async with database("sqlite", tmp_path) as db:
        sandbox = await with_steps(db, await db.store.add(a_sandbox()), 1500, at_once=500)

        async def follow(pause_every: int) -> list[int]:
            seen: list[int] = []
            async for event in db.events.follow(sandbox.id, 0):
                seen.append(event.id)
                if len(seen) % pause_every == 0:
                    await asyncio.sleep(0)
                if len(seen) == 6001:
                    return seen
            raise AssertionError("the stream ended")

        following = [asyncio.create_task(follow(pause)) for pause in (1, 7, 900)]
        await with_steps(db, sandbox, 4500, at_once=150)
        async with asyncio.timeout(60):
            for seen in await asyncio.gather(*following):
                assert seen == sorted(set(seen))
                assert len(seen) == 6001


async def test_ids_go_on_after_a_restart_even_when_the_last_were_evicted(tmp_path: Path) -> None:
    async with database("sqlite", tmp_path) as db:
        sandbox = await with_steps(db, await db.store.add(a_sandbox()), 5)
        events = db.events.follow(sandbox.id, 0)
        last = [(await anext(events)).id for _ in range(6)][-1]
        await events.aclose()
    async with database("sqlite", tmp_path) as db:
        async with db.sql.reading("look") as connection:  # type: ignore[attr-defined]  # the real one has it
            await connection.exec_driver_sql("DELETE FROM events")
        events = db.events.follow(sandbox.id, last)
        coming = asyncio.create_task(anext(events))
        await with_steps(db, sandbox, 1)
        assert (await coming).id == last + 1
        await events.aclose()


async def test_retention_keeps_the_newest_and_never_touches_the_journal(tmp_path: Path) -> None:
    async with database("sqlite", tmp_path, retain_events=50) as db:
        other = await db.store.add(a_sandbox())
        sandbox = await with_steps(db, await db.store.add(a_sandbox()), 200)
        assert len(await db.store.steps(sandbox.id)) == 200
        oldest = await db.events.oldest(sandbox.id)
        assert oldest is not None
        events = db.events.follow(sandbox.id, 0)
        kept = [await anext(events) for _ in range(50)]
        assert kept[0].id == oldest
        assert [event.data["step"] for event in kept] == [str(number) for number in range(150, 200)]
        assert await db.events.oldest(other.id) == 1
        await events.aclose()


async def test_a_follower_that_retention_overtook_is_ended_not_fooled(tmp_path: Path) -> None:
    async with database("sqlite", tmp_path, retain_events=10) as db:
        sandbox = await db.store.add(a_sandbox())
        slow = db.events.follow(sandbox.id, 0)
        await anext(slow)
        await with_steps(db, sandbox, RING_SIZE + 100, at_once=100)
        assert [event async for event in slow] == []
