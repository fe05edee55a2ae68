"""kill -9 of a process that writes: row, journal, events and costs agree; nothing acknowledged is lost."""

import asyncio
import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.databases import a_sandbox, database

ROUNDS = 6

WRITER = """
import asyncio, itertools, sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from ciab.core.ids import SandboxId
from ciab.core.journal import Noted, StepMoved, StepStatus
from ciab.core.sandbox import Meter
from tests.databases import database

async def main():
    async with database("sqlite", Path(sys.argv[1])) as db:
        sandbox = await db.store.get(SandboxId(sys.argv[2]))
        for _ in itertools.count():
            step = StepMoved(f"v{sandbox.version + 1}", StepStatus.BEGUN)
            meter = Meter(1.0, sandbox.created_at + timedelta(hours=sandbox.version))
            metered = replace(sandbox, meter=meter)
            sandbox = await db.store.save(metered, step, Noted("filler", "x" * 3000))
            print(sandbox.version, flush=True)

asyncio.run(main())
"""


async def test_kill_9_in_mid_save_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(20260101)
    async with database("sqlite", tmp_path) as db:
        sandbox = await db.store.add(a_sandbox())
    for _ in range(ROUNDS):
        acknowledged = await _write_and_kill(tmp_path, sandbox.id, chance.uniform(0, 0.3))
        async with database("sqlite", tmp_path) as db:
            version = (await db.store.get(sandbox.id)).version
            steps = await db.store.steps(sandbox.id)
            cost = (await db.ledger.by_sandbox([sandbox.id])).get(sandbox.id, 0.0)
        assert version in {acknowledged, acknowledged + 1}
        assert cost == pytest.approx(version - 1)  # a dollar for each hour between two meters
        assert set(steps) == {f"v{number}" for number in range(1, version + 1)}
        with closing(sqlite3.connect(tmp_path / "ciab.db")) as connection:
            notes = connection.execute("SELECT count(*) FROM journal WHERE kind = 'note'").fetchone()
            events = connection.execute("SELECT count(*) FROM events WHERE event_type = 'provisioning_step'")
            assert (notes, events.fetchone()) == ((version,), (version,))
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def _write_and_kill(folder: Path, sandbox_id: str, after: float) -> int:
    """The last version that the writer said was saved."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(folder), sandbox_id, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    acknowledged = await process.stdout.readline()
    await asyncio.sleep(after)  # a random moment is the point
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    whole = (acknowledged + rest).rpartition(b"\n")[0]
    return int(whole.split()[-1])
