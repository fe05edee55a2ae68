"""Holding a server to account: its sandboxes against the region's instances, disks, keys and the ledger."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from ciab.core.sandbox import Held
from ciab.core.states import ENDED, MOVING, State
from ciab.schema.sandboxes import SandboxInfo
from tests.prove.test_kill import FREE, everything, instances
from tests.server import RunningServer

AT_REST_SECS = 120
JITTER = 0.001


async def at_rest(here: RunningServer) -> dict[str, SandboxInfo]:
    """Every sandbox by name, once nothing moves any more."""
    async with here.client() as client, asyncio.timeout(AT_REST_SECS):
        found = await everything(client)
        while MOVING & {one.state for one in found}:
            await asyncio.sleep(0.1)
            found = await everything(client)
    return {one.name: one for one in found}


async def instances_agree(here: RunningServer, sandboxes: dict[str, SandboxInfo]) -> None:
    """Each sandbox has the machine that its state says, and never had another; no machine is nobody's."""
    async with asyncio.timeout(30):
        ever = await instances(here)
        while "shutting-down" in dict(ever).values():
            await asyncio.sleep(0.1)
            ever = await instances(here)
    launched = Counter(owner for owner, _ in ever)
    living = {owner: state for owner, state in ever if state not in FREE}
    assert max(launched.values(), default=0) <= 1, f"launched more than once: {launched.most_common(3)}"
    assert living == {one.id: machine_of(one) for one in sandboxes.values() if machine_of(one)}
    alive = {one.instance.id for one in sandboxes.values() if one.instance and one.state not in ENDED}
    assert {disk.name for disk in (here.region_folder / "machines").iterdir()} == alive


def machine_of(info: SandboxInfo) -> str | None:
    """The state of its instance, by what CIAB says of it."""
    if info.state in ENDED:
        return None
    return "running" if info.state is State.RUNNING or info.held is Held.FROZEN else "stopped"


def prices_agree(sandboxes: dict[str, SandboxInfo]) -> None:
    """What a sandbox costs now follows from what its machine does now."""
    costs = {"running": set[float](), "stopped": set[float](), None: set[float]()}
    for info in sandboxes.values():
        assert info.cost is not None, info
        assert info.cost.usd_hour is not None, info
        costs[machine_of(info)].add(info.cost.usd_hour)
    assert all(len(prices) <= 1 for prices in costs.values()), costs
    assert not costs[None] - {0.0}, costs
    assert not costs["stopped"] or 0 < min(costs["stopped"]) < min(costs["running"], default=1.0), costs


def nothing_counts_twice(database: Path) -> None:
    """The spans of a sandbox follow each other, and its open meter the last of them."""
    with closing(_read(database)) as db:
        spans = db.execute("SELECT sandbox_id, since, until FROM spans ORDER BY sandbox_id, since").fetchall()
        meters = db.execute(
            "SELECT id, json_extract(meter, '$.since') FROM sandboxes WHERE meter IS NOT NULL"
        ).fetchall()
        keys = db.execute(
            "SELECT name FROM keys JOIN sandboxes ON sandboxes.id = sandbox_id "
            "WHERE state IN ('terminated', 'failed')"
        ).fetchall()
    open_since = {owner: datetime.fromisoformat(since).timestamp() for owner, since in meters}
    for (owner, since, until), (next_owner, next_since, _) in pairwise([*spans, (None, 0.0, 0.0)]):
        assert since < until
        following = next_since if next_owner == owner else open_since.get(owner, until)
        assert following >= until - JITTER, f"{owner} paid twice from {following} to {until}"
    assert not keys, "keys of sandboxes that have ended are still there"


def moving_now(database: Path) -> Counter[str]:
    """In which states a killed server left its sandboxes, those at rest apart; paused ones by how."""
    with closing(_read(database)) as db:
        rows = db.execute("SELECT state, held FROM sandboxes").fetchall()
    return Counter(f"{state} {held or ''}".strip() for state, held in rows if state in MOVING)


def _read(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
