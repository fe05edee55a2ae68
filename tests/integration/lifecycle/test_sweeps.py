"""What nobody owns any more: what the sweep takes by itself, what `ciab gc` takes, and what nobody takes."""

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ciab.core.states import State
from tests.commands import Ciab
from tests.integration.lifecycle import acting
from tests.integration.lifecycle.acting import becomes, instance_of, persistent, shell, spec
from tests.integration.lifecycle.estate import Estate, estate_in, installation, instances, owner_of
from tests.region import RunningRegion, region

GRACE_SECS, MOST = 4, 6
REAPER = {"interval_secs": 1, "grace_secs": GRACE_SECS, "max_per_sweep": MOST}
FAR = "eu-west-1"
KILLS = ("TerminateInstances", "DeleteVolume", "DeleteNetworkInterface")


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with region(tmp_path / "region") as running:
        yield running


async def test_an_end_with_clean_up_leaves_another_installation_alone(
    shared: RunningRegion, tmp_path: Path
) -> None:
    async with (
        installation(tmp_path / "one", shared) as one,
        installation(tmp_path / "two", shared, reaper={"interval_secs": 1, "grace_secs": 1}) as two,
        one.client() as mine,
        two.client() as theirs,
    ):
        await acting.running(mine, spec("same-name"), persistent("kept"))
        (info,) = await acting.running(theirs, spec("same-name"))
        assert await owner_of(shared, info.id) != await owner_of(shared, (await mine.get_sandbox("kept")).id)
        assert one.end() == 0
        states = {name: found["State"]["Name"] for name, found in (await instances(shared)).items()}
        assert states.pop(instance_of(info)) == "running"
        assert list(states.values()) == ["stopped"]
        assert await shell(theirs, "same-name", "echo up") == "up"
        assert two.end() == 0
        assert {found["State"]["Name"] for found in (await instances(shared)).values()} == {"stopped"}


async def test_the_sweep_and_gc(shared: RunningRegion, tmp_path: Path) -> None:
    async with (
        installation(tmp_path / "one", shared, reaper=REAPER) as here,
        here.client() as client,
        estate_in(shared, FAR) as estate,
    ):
        gone, away, live = await acting.running(
            client, spec("gone"), spec("away", {"region": FAR}), spec("live")
        )
        owner = await owner_of(shared, live.id)
        for info in (gone, away):
            await client.delete_sandbox(info.id)
            await becomes(client, info.id, State.TERMINATED)
        failing = await client.create_sandbox(spec("failing", provisioning_scripts=["exit 1"]))
        await becomes(client, failing.id, State.FAILED)

        await shared.set_faults(pending_secs=3600, visible_after=0)
        born = time.time()
        foreign = str(uuid4())
        await furnish(estate, owner, foreign, ended=(gone.id, failing.id, away.id), live=live.id)
        everything = await estate.left()
        # what the database knows as ended
        known = {"ended": 7, "failed": 3, "far": 1, "volume of ended": 1, "interface of ended": 1}
        assert known.items() <= everything.items()
        rest = {name: count for name, count in everything.items() if name not in known}

        async def swept() -> bool:
            return await estate.left() == rest

        await acting.until("the sweep has taken what is known as ended", swept, pause=0.5)
        check_pace((await shared.calls())["last"], born)
        await two_sweeps(shared)
        assert await estate.left() == rest
        taken = [one for name in known for one in estate.made[name]]
        check_journal(acting.rows(here, JOURNAL), taken)

        # what it does not know
        ciab = Ciab(here.url)
        unknown = {"unknown": 10, "volume of unknown": 1}
        listed = ciab.good("gc", "--dry-run")
        for name in unknown:
            assert [one for one in estate.made[name] if "would end" not in row_of(listed, one)] == []
        assert "ciab-keep" in row_of(listed, estate.made["kept"][0])
        assert await estate.left() == rest
        assert "enough for one sweep" in ciab.good("gc")
        ciab.good("gc")
        for name in unknown:
            rest.pop(name)
            taken += estate.made[name]
        assert await estate.left() == rest
        check_journal(acting.rows(here, JOURNAL), taken)

        # of an installation whose database is gone
        for _ in range(2):
            ciab.good("gc", "--owner", foreign)
        rest.pop("foreign")
        taken += estate.made["foreign"]
        assert await estate.left() == rest
        check_journal(acting.rows(here, JOURNAL), taken)
        assert (await client.get_sandbox("live")).state is State.RUNNING
        assert await shell(client, "live", "echo up") == "up"


async def furnish(estate: Estate, owner: str, foreign: str, ended: tuple[str, str, str], live: str) -> None:
    """All kinds of things; those with a foreign owner and an ended sandbox of ours too."""
    gone, failed, away = ended
    ours = {"managed": "true", "owner": owner}
    await estate.machines("bare", 10)
    await estate.machines("foreign", 10, managed="true", owner=foreign, sandbox_id=gone)
    await estate.machines("not managed", 1, owner=owner, sandbox_id=gone)
    await estate.machines("unknown", 10, **ours, sandbox_id=str(uuid4()))
    await estate.machines("kept", 1, **ours, sandbox_id=gone, keep="")
    await estate.machines("of a build", 1, **ours, sandbox_id=gone, build_id="b-1")
    await estate.machines("ended", 7, **ours, sandbox_id=gone)
    await estate.machines("failed", 3, **ours, sandbox_id=failed)
    await estate.machines("far", 1, FAR, **ours, sandbox_id=away)
    await estate.volume("volume of ended", **ours, sandbox_id=gone)
    await estate.volume("volume of unknown", **ours, sandbox_id=str(uuid4()))
    await estate.volume("volume of live", **ours, sandbox_id=live)
    await estate.volume("volume kept", **ours, sandbox_id=gone, keep="yes")
    await estate.interface("interface of ended", **ours, sandbox_id=gone)
    await estate.interface("interface of live", **ours, sandbox_id=live)


JOURNAL = "SELECT message FROM journal WHERE kind = 'note' AND subject = 'reaped'"


def check_journal(written: list[tuple[Any, ...]], taken: list[str]) -> None:
    """One entry for each kill, which says what it was and why."""
    words = [message for (message,) in written]
    assert len(words) == len(taken)
    for one in taken:
        (entry,) = [message for message in words if f" {one} in " in message]
        assert entry.partition(": ")[2]


def check_pace(calls: list[dict[str, Any]], born: float) -> None:
    """Nothing is taken before the grace is over, and only so many by one sweep."""
    after = [call for call in calls if call["time"] >= born]
    kills = [call for call in after if call["action"] in KILLS]
    assert min(call["time"] for call in kills) - born >= GRACE_SECS - 1  # launch times are whole seconds
    by_sweep = [0]
    for call in after:
        if begins_a_sweep(call):
            by_sweep.append(0)
        elif call["action"] in KILLS:
            by_sweep[-1] += 1
    assert max(by_sweep) == MOST


def begins_a_sweep(call: Mapping[str, Any]) -> bool:
    """The volumes of the home region are asked for once in every sweep."""
    by_id = "volume-id" in call["parameters"].values()
    return call["action"] == "DescribeVolumes" and call["region"] == "us-east-1" and not by_id


async def two_sweeps(shared: RunningRegion) -> None:
    async def sweeps() -> int:
        return len([call for call in (await shared.calls())["last"] if begins_a_sweep(call)])

    before = await sweeps()

    async def done() -> bool:
        return await sweeps() >= before + 3

    await acting.until("two sweeps have ended", done)


def row_of(table: str, ident: str) -> str:
    """Its line; empty without one."""
    return next((line for line in table.splitlines() if ident in line), "")
