"""kill -9 at random moments of pausing, resuming, stopping, starting, deleting and of the server's end.

In every life of the server each of several sandboxes is asked for something; then it is killed somewhere in
the middle of that, sometimes after it was told to end, sometimes once more while the next one takes up what
was left. Afterwards everything that was acknowledged has come about, and nothing else: states and instances
agree, files are there, frozen processes stand still and go on after it, nothing is paid for twice. A round
that failed can be run again by `--seed N`.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from ciab.core.sandbox import Held
from ciab.core.states import State
from ciab.schema.sandboxes import SandboxInfo
from ciab.sdk.client import Client
from tests.prove.accounts import at_rest, instances_agree, moving_now, nothing_counts_twice, prices_agree
from tests.prove.boxes import Box, Boxes
from tests.server import RunningServer, server

SANDBOXES = 8
ASKING_SECS = 0.6
"""The requests of a round are spread over so long."""
KILL_SECS = 1.1
"""The kill falls within so long of the first of them."""

MOVES = frozenset(
    {"creating", "terminating", "pausing stopped", "pausing frozen", "stopping"}
    | {"starting", "starting stopped", "starting frozen"}
)
"""What a server must have been killed in, some time in a full run."""


@pytest.mark.timeout(1500)
async def test_kill_9_in_any_move_and_everything_agrees(tmp_path: Path, full: bool, seed: int) -> None:
    chance = random.Random(seed)
    boxes = Boxes(SANDBOXES, chance)
    hit: Counter[str] = Counter()
    async with server(tmp_path, config(chance)) as here:
        for number in range(100 if full else 4):
            ending = chance.random() < 0.15
            saved = await one_life(here, boxes, chance, ending=ending)
            hit += moving_now(here.database)
            here.config = config(chance)
            here.start()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.uniform(0.0, 0.6))
                here.kill()
                here.start()
            when = f"seed {seed}, life {number}{' with an end' if ending else ''}"
            await all_is_well(here, boxes, f"{number}", when, ending=ending, saved=saved)
        print(f"killed while sandboxes were: {dict(hit)}")
        assert not full or hit.keys() >= MOVES, hit
        await the_last_end(here)


def config(chance: random.Random) -> dict[str, object]:
    """Of the next life: how it pauses differs from one to the next. It looks around often."""
    return {
        "server": {"watch_interval_secs": 1},
        "runtime": {"ec2": {"stop_on_pause": chance.random() < 0.5}},
    }


async def one_life(here: RunningServer, boxes: Boxes, chance: random.Random, *, ending: bool) -> bool:
    """Ask, and kill in the middle. Whether the server had saved by then that everything is to end."""
    begun = ends_begun(here)
    async with here.client() as client:
        asked = [
            asyncio.create_task(later(box, client, chance, chance.uniform(0.0, ASKING_SECS)))
            for box in boxes.of_this_round()
        ]
        await asyncio.sleep(chance.uniform(0.0, KILL_SECS))  # the moment is the experiment
        if ending:
            os.kill(here.pid, signal.SIGTERM)
            await asyncio.sleep(chance.uniform(0.0, KILL_SECS))
        here.kill()
        await asyncio.gather(*asked)
    return ends_begun(here) > begun


async def later(box: Box, client: Client, chance: random.Random, secs: float) -> None:
    await asyncio.sleep(secs)
    await box.ask(client, chance)


def ends_begun(here: RunningServer) -> int:
    """How often a server has said that it ends; by then all intents are saved."""
    return sum(line.startswith("ending:") for line in here.output().splitlines())


async def all_is_well(
    here: RunningServer, boxes: Boxes, word: str, when: str, *, ending: bool, saved: bool
) -> None:
    sandboxes = await at_rest(here)
    assert sandboxes.keys() <= {box.name for box in boxes.every}, when
    for box in boxes.every:
        if box.gone:
            continue
        info = sandboxes.get(box.name)
        allowed = box.may_be(ending=ending, ending_saved=saved)
        assert (info.state if info else None) in allowed, (when, box, allowed, info)
        assert info is None or info.failure is None, (when, box, info)
        box.seen(info)
    await instances_agree(here, sandboxes)
    prices_agree(sandboxes)
    nothing_counts_twice(here.database)
    await frozen_ones_stand_still(here, boxes, sandboxes)
    async with here.client() as client:
        running = [box for box in boxes.every if box.state is State.RUNNING]
        await asyncio.gather(*(box.used(client, word) for box in running))


async def frozen_ones_stand_still(
    here: RunningServer, boxes: Boxes, sandboxes: dict[str, SandboxInfo]
) -> None:
    """Seen from outside: their disks are folders here."""
    frozen = [sandboxes[box.name] for box in boxes.every if box.held is Held.FROZEN and box.ticks]
    disks = here.region_folder / "machines"
    files = [disks / info.instance.id / "home/ubuntu/ticks" for info in frozen if info.instance]
    before = [file.stat().st_size for file in files]
    if files:
        await asyncio.sleep(0.5)  # more than two ticks
    assert [file.stat().st_size for file in files] == before


async def the_last_end(here: RunningServer) -> None:
    """An end that nobody cuts off leaves only persistent ones, at rest; and they can be deleted."""
    assert here.end() == 0, here.output()[-2000:]
    here.start()
    async with here.client() as client:
        left = [one for one in (await at_rest(here)).values() if one.state is not State.TERMINATED]
        assert {one.persistence for one in left} <= {"persistent"}
        assert {one.state for one in left} <= {State.STOPPED, State.PAUSED}
        for one in left:
            await client.delete_sandbox(one.id)
    sandboxes = await at_rest(here)
    assert {one.state for one in sandboxes.values()} <= {State.TERMINATED}
    await instances_agree(here, sandboxes)
    nothing_counts_twice(here.database)
