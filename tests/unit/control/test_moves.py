"""Every verb in every state: where the legal ones lead, and that the others change nothing."""

from dataclasses import replace

import pytest

from ciab.control.policy import Policy
from ciab.core.errors import InvalidState, RuntimeRejected
from ciab.core.machine import MachineState
from ciab.core.sandbox import Held, Sandbox
from ciab.core.spec import Ec2Overrides
from ciab.core.states import ENDED, State
from tests.unit.control.world import SITE, SPEC, Cloud, World

S = State
VERBS = ("start", "stop", "pause", "resume", "delete", "recover")
LEGAL = {
    (S.STOPPED, "start"): S.RUNNING,
    (S.RUNNING, "stop"): S.STOPPED,
    (S.PAUSED, "stop"): S.STOPPED,
    (S.RUNNING, "pause"): S.PAUSED,
    (S.PAUSED, "resume"): S.RUNNING,
    **{(state, "delete"): S.TERMINATED for state in S if state not in ENDED},
    # deleting what has ended is no error and no change, and a new one can be made of it
    **{(state, verb): state for state in ENDED for verb in ("delete", "recover")},
}
WAYS = {
    S.PAUSING: ("", "pause"),
    S.PAUSED: ("pause", ""),
    S.STOPPING: ("", "stop"),
    S.STOPPED: ("stop", ""),
    S.STARTING: ("stop", "start"),
    S.TERMINATING: ("", "delete"),
    S.TERMINATED: ("delete", ""),
}
"""From a running sandbox: what is asked for and done, and then what is only asked for."""
FREEZING = Policy(stop_on_pause=False)


async def in_state(state: State, world: World) -> Sandbox:
    """A sandbox that came into this state as any does, and that nobody drives now."""
    made = await world.desk().create(SPEC, None)
    if state is S.CREATING:
        await world.database.store.save(replace(made.to(S.CREATING), site=SITE))
    if state is S.FAILED:
        world.machines.fail_next["launch"] = RuntimeRejected("no")
    if state not in (S.PENDING, S.CREATING):
        await world.go_on(made)
    done, then = WAYS.get(state, ("", ""))
    if done:
        await world.ask(done, made)
    if then:
        await getattr(world.desk(), then)(made.id)
    return await world.sandbox(made.id)


@pytest.mark.parametrize("state", S)
async def test_every_state_can_be_come_into(state: State) -> None:
    assert (await in_state(state, World())).state is state


@pytest.mark.parametrize(("state", "verb"), sorted(LEGAL))
async def test_a_legal_verb_leads_where_the_table_says(state: State, verb: str) -> None:
    world = World()
    sandbox = await in_state(state, world)
    if verb == "recover":
        another = await world.desk().recover(sandbox.id, None)
        assert another.recovered_from == sandbox.id
    else:
        await getattr(world.desk(), verb)(sandbox.id)
    after = await world.go_on(sandbox)
    assert after.state is LEGAL[state, verb]
    mine = [machine for machine in world.machines.alive() if machine.sandbox_id == sandbox.id]
    assert len(mine) == (0 if after.state in ENDED else 1)


@pytest.mark.parametrize(
    ("state", "verb"), sorted((state, verb) for state in S for verb in VERBS if (state, verb) not in LEGAL)
)
async def test_an_illegal_verb_is_refused_with_a_hint_and_changes_nothing(state: State, verb: str) -> None:
    world = World()
    sandbox = await in_state(state, world)
    journal = list(world.database.store.journal[sandbox.id])
    machines = world.machines.alive()
    with pytest.raises(InvalidState, match=str(sandbox.name)) as refused:
        if verb == "recover":
            await world.desk().recover(sandbox.id, None)
        else:
            await getattr(world.desk(), verb)(sandbox.id)
    assert refused.value.hint
    assert await world.sandbox(sandbox.id) == sandbox
    assert world.database.store.journal[sandbox.id] == journal
    assert world.machines.alive() == machines


async def test_a_pause_stops_the_machine_and_a_resume_starts_it_at_a_new_address() -> None:
    world = World()
    before = await world.create()
    paused = await world.ask("pause", before)
    assert (paused.state, paused.held) == (S.PAUSED, Held.STOPPED)
    assert world.machine(paused).state is MachineState.STOPPED
    resumed = await world.ask("resume", paused)
    assert (resumed.state, resumed.held, resumed.boot) == (S.RUNNING, None, None)
    assert resumed.machine
    assert before.machine
    assert resumed.machine.public_ip not in (None, before.machine.public_ip)
    assert world.connections.care(before.id).boot == "boot-2"


async def test_a_pause_that_keeps_the_machine_freezes_and_a_resume_thaws() -> None:
    world = World(policy=FREEZING)
    before = await world.create()
    care = world.connections.care(before.id)
    paused = await world.ask("pause", before)
    assert (paused.state, paused.held) == (S.PAUSED, Held.FROZEN)
    assert world.machine(paused).state is MachineState.RUNNING
    assert (care.frozen, care.boot) == (True, "boot-1")
    resumed = await world.ask("resume", paused)
    assert (resumed.state, resumed.held) == (S.RUNNING, None)
    assert (care.frozen, care.boot) == (False, "boot-1")


async def test_a_frozen_sandbox_can_be_stopped_and_started() -> None:
    world = World(policy=FREEZING)
    paused = await world.ask("pause", await world.create())
    stopped = await world.ask("stop", paused)
    assert (stopped.state, stopped.held) == (S.STOPPED, None)
    assert world.machine(stopped).state is MachineState.STOPPED
    assert (await world.ask("start", stopped)).state is S.RUNNING
    assert not world.connections.care(paused.id).frozen


async def test_a_hibernated_machine_keeps_its_memory() -> None:
    world = World(policy=Policy(hibernate_on_pause=True), machines=Cloud(hibernates=True))
    paused = await world.ask("pause", await world.create())
    assert (paused.held, paused.boot) == (Held.HIBERNATED, "boot-1")
    assert world.machine(paused).reason == "hibernated by CIAB"
    resumed = await world.ask("resume", paused)
    assert (resumed.state, resumed.held, resumed.boot) == (S.RUNNING, None, None)
    assert world.connections.care(paused.id).boot == "boot-1"
    assert world.notes(paused) == []


async def test_a_hibernation_that_kept_no_memory_says_so_after_the_resume() -> None:
    world = World(policy=Policy(hibernate_on_pause=True), machines=Cloud(hibernates=True))
    paused = await world.ask("pause", await world.create())
    world.connections.care(paused.id).reboot()  # the provider shut it down, without a word
    resumed = await world.ask("resume", paused)
    assert resumed.state is S.RUNNING
    assert world.notes(paused) == ["memory_lost"]


async def test_a_hibernation_that_is_refused_is_a_stop_and_says_so() -> None:
    world = World(policy=Policy(hibernate_on_pause=True), machines=Cloud(hibernates=True))
    sandbox = await world.create()
    world.machines.fail_next["stop"] = RuntimeRejected("too soon after its launch")
    paused = await world.ask("pause", sandbox)
    assert paused.state is S.PAUSED
    assert world.machine(paused).reason == "stopped by CIAB"
    assert world.notes(paused) == ["not_hibernated"]


async def test_a_machine_that_cannot_hibernate_is_stopped() -> None:
    world = World(policy=Policy(hibernate_on_pause=True))
    paused = await world.ask("pause", await world.create())
    assert (paused.state, paused.held) == (S.PAUSED, Held.STOPPED)


@pytest.mark.parametrize("verb", ["stop", "pause"])
async def test_a_spot_machine_cannot_be_stopped(verb: str) -> None:
    world = World()
    sandbox = await world.create(replace(SPEC, ec2=Ec2Overrides(spot=True)))
    with pytest.raises(InvalidState, match="spot") as refused:
        await getattr(world.desk(), verb)(sandbox.id)
    assert refused.value.hint
    assert await world.sandbox(sandbox.id) == sandbox


async def test_a_spot_machine_can_be_frozen_and_then_not_stopped_either() -> None:
    world = World(policy=FREEZING)
    paused = await world.ask("pause", await world.create(replace(SPEC, ec2=Ec2Overrides(spot=True))))
    assert (paused.state, paused.held) == (S.PAUSED, Held.FROZEN)
    with pytest.raises(InvalidState, match="spot"):
        await world.desk().stop(paused.id)
    assert (await world.ask("resume", paused)).state is S.RUNNING
