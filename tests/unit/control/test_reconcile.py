"""What is believed of machines that somebody else moved: when, and in which words."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ciab.control.policy import Policy
from ciab.control.reconcile import Reconciler
from ciab.core.errors import CiabError, RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import SandboxId
from ciab.core.machine import Cause, Machine, MachineState, Place
from ciab.core.sandbox import Sandbox
from ciab.core.states import State
from tests.unit.control.lines import Lines
from tests.unit.control.world import SITE, Cloud, World

S = State
FREEZES = Policy(stop_on_pause=False)


class Lookups(Cloud):
    """Lookups that see what is long over, that see nothing, and that tell where they looked."""

    shows: MachineState | None = None
    blind = False

    def __init__(self) -> None:
        super().__init__()
        self.places: set[Place] = set()

    async def find(self, sandbox_id: SandboxId, place: Place) -> Machine | None:
        self.places.add(place)
        machine = await super().find(sandbox_id, place)
        if machine is None or self.blind:
            return None
        return replace(machine, state=self.shows) if self.shows else machine


class Looks:
    """One process that looks at a sandbox now and then."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.woken: list[SandboxId] = []
        self._reconciler = Reconciler(world.ports(), self.woken.append)

    async def at(self, sandbox: Sandbox, times: int = 1) -> Sandbox:
        for _ in range(times):
            await self._reconciler.compare(await self._world.sandbox(sandbox.id))
        return await self._world.sandbox(sandbox.id)


async def running(verbs: Sequence[str] = (), policy: Policy | None = None) -> tuple[World, Lookups, Sandbox]:
    lookups = Lookups()
    world = World(machines=lookups, policy=policy or Policy(), connections=Lines())
    sandbox = await world.create()
    for verb in verbs:
        sandbox = await world.ask(verb, sandbox)
    return world, lookups, sandbox


def cut(world: World) -> bool:
    """Nobody reaches anybody any more."""
    assert isinstance(world.connections, Lines)
    world.connections.cut = True
    return True


@pytest.mark.parametrize(
    ("cause", "code", "words"),
    [
        (Cause.ASKED, "machine_ended", "somebody outside CIAB terminated"),
        (Cause.ITSELF, "machine_ended", "ended itself"),
        (Cause.SPOT, "spot_interrupted", "took the spot machine"),
        (Cause.PROVIDER, "machine_ended", "the provider ended"),
        (None, "machine_ended", "terminated"),
    ],
)
@pytest.mark.parametrize("verbs", [(), ("pause",), ("stop",)], ids=["running", "paused", "stopped"])
async def test_a_machine_that_ended_is_believed_at_once_and_in_its_providers_words(
    cause: Cause | None, code: str, words: str, verbs: Sequence[str]
) -> None:
    world, lookups, sandbox = await running(verbs)
    lookups.end(world.billable()[0], "Client.Because", cause)
    looks = Looks(world)
    assert (await looks.at(sandbox)).state is S.TERMINATING
    assert looks.woken == [sandbox.id]
    failed = await world.go_on(sandbox)
    assert failed.state is S.FAILED
    assert failed.failure
    assert failed.failure.code == code
    assert words in failed.failure.message
    assert "Client.Because" in failed.failure.message
    assert failed.failure.hint
    assert "recover" in failed.failure.hint


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Cause.ASKED, "somebody outside CIAB stopped"),
        (Cause.ITSELF, "stopped itself"),
        (Cause.PROVIDER, "the provider stopped"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
async def test_a_machine_that_was_stopped_is_believed_at_the_second_look(
    cause: Cause, words: str, frozen: bool
) -> None:
    world, lookups, sandbox = await running(("pause",) if frozen else (), FREEZES)
    lookups.stopped_by_hand(world.billable()[0], cause)
    looks = Looks(world)
    assert await looks.at(sandbox) == sandbox
    assert (await looks.at(sandbox)).state is S.STOPPING
    stopped = await world.go_on(sandbox)
    assert (stopped.state, stopped.held) == (S.STOPPED, None)
    assert stopped.failure
    assert stopped.failure.code == "machine_stopped"
    assert words in stopped.failure.message
    assert (await world.ask("start", stopped)).failure is None
    assert lookups.launched(sandbox.id) == 1


@pytest.mark.parametrize("verb", ["stop", "pause"])
async def test_a_machine_that_was_started_is_running_again_and_says_by_whom(verb: str) -> None:
    world, lookups, sandbox = await running((verb,))
    lookups.started_by_hand(world.billable()[0])
    looks = Looks(world)
    await looks.at(sandbox, 3)  # the first sees it pending, the second and third running
    started = await world.go_on(sandbox)
    assert (started.state, started.held) == (S.RUNNING, None)
    assert started.reason
    assert "somebody outside CIAB started" in started.reason
    assert started.meter
    assert started.meter.usd_hour == world.prices.usual


@pytest.mark.parametrize("verbs", [(), ("pause",), ("stop",)], ids=["running", "paused", "stopped"])
async def test_what_is_as_it_should_be_is_not_touched(verbs: Sequence[str]) -> None:
    world, _, sandbox = await running(verbs)
    looks = Looks(world)
    assert await looks.at(sandbox, 3) == sandbox
    assert not looks.woken


@pytest.mark.parametrize("fault", [RuntimeUnavailable("throttled"), RuntimeRejected("no permission")])
async def test_a_look_that_fails_changes_nothing(fault: CiabError) -> None:
    world, lookups, sandbox = await running()
    looks = Looks(world)
    for _ in range(5):
        world.clock.now += world.policy.grace
        lookups.fail_next["find"] = fault
        assert await looks.at(sandbox) == sandbox
    lookups.blind = True  # and it is no absence either
    assert await looks.at(sandbox) == sandbox


async def test_an_absence_is_believed_after_the_grace_period_only() -> None:
    world, lookups, sandbox = await running()
    lookups.blind = cut(world)
    looks = Looks(world)
    assert await looks.at(sandbox) == sandbox
    world.clock.now += world.policy.grace - 1
    assert await looks.at(sandbox) == sandbox
    lookups.blind = False
    assert await looks.at(sandbox) == sandbox
    lookups.blind = True
    world.clock.now += world.policy.grace
    assert await looks.at(sandbox) == sandbox
    world.clock.now += world.policy.grace
    assert (await looks.at(sandbox)).state is S.TERMINATING
    failed = await world.go_on(sandbox)
    assert failed.failure
    assert failed.failure.code == "machine_ended"
    assert "us-east-1 of account 000000000000" in failed.failure.message
    assert not world.billable()


async def test_a_machine_that_answers_is_not_gone_whatever_the_provider_shows() -> None:
    world, lookups, sandbox = await running()
    lookups.blind = True  # somebody has taken its tags away
    looks = Looks(world)
    for _ in range(5):
        assert await looks.at(sandbox) == sandbox
        world.clock.now += world.policy.grace
    cut(world)
    await looks.at(sandbox)
    world.clock.now += world.policy.grace
    assert (await looks.at(sandbox)).state is S.TERMINATING


async def test_a_machine_is_looked_for_where_it_was_launched_whatever_the_configuration_says() -> None:
    world, lookups, sandbox = await running()
    world.place = replace(SITE, place=Place("fake", "111111111111", "https://other", "eu-west-1"))
    await Looks(world).at(sandbox)
    assert lookups.places == {SITE.place}


async def test_an_absence_before_a_move_does_not_count_after_it() -> None:
    world, lookups, sandbox = await running()
    looks = Looks(world)
    lookups.blind = True
    await looks.at(sandbox)
    lookups.blind = False
    paused = await world.ask("pause", sandbox)  # that saw the machine
    world.clock.now += world.policy.grace
    lookups.blind = True
    assert await looks.at(paused) == paused


@pytest.mark.parametrize("verb", ["pause", "stop"])
async def test_a_machine_that_is_gone_is_not_waited_for_by_who_moves_it(verb: str) -> None:
    world, lookups, sandbox = await running()
    await getattr(world.desk(), verb)(sandbox.id)
    world.machines.end(world.billable()[0], "Client.InstanceInitiatedShutdown", Cause.ITSELF)
    lookups.blind = cut(world)  # the provider has forgotten it
    async with world.process() as (_, supervisor):
        reconciler = Reconciler(world.ports(), supervisor.wake)
        while (await world.sandbox(sandbox.id)).live:
            await reconciler.compare(await world.sandbox(sandbox.id))
            await world.clock.sleep(15)
    failed = await world.sandbox(sandbox.id)
    assert failed.failure
    assert failed.failure.code == "machine_ended"
    assert world.clock.now < 2 * world.policy.grace


async def test_two_stale_looks_with_a_fresh_one_between_them_are_not_believed() -> None:
    world, lookups, sandbox = await running()
    looks = Looks(world)
    for shown in (MachineState.STOPPED, None, MachineState.STOPPED):
        lookups.shows = shown
        assert await looks.at(sandbox) == sandbox


async def test_two_looks_count_only_together_when_they_are_about_the_same_version() -> None:
    world, lookups, sandbox = await running()
    looks = Looks(world)
    lookups.shows = MachineState.STOPPED
    await looks.at(sandbox)
    newer = await world.database.store.save(sandbox)
    assert await looks.at(newer) == newer
    assert (await looks.at(newer)).state is S.STOPPING


async def test_a_new_address_is_saved() -> None:
    world, lookups, sandbox = await running()
    lookups.stopped_by_hand(world.billable()[0])
    lookups.started_by_hand(world.billable()[0])  # both between two looks
    after = await Looks(world).at(sandbox, 3)
    assert after.state is S.RUNNING
    assert after.machine
    assert sandbox.machine
    assert after.machine.public_ip == world.machine(sandbox).public_ip != sandbox.machine.public_ip


async def test_who_moves_a_sandbox_during_a_look_wins() -> None:
    world, lookups, sandbox = await running()
    lookups.end(world.billable()[0], "Client.Because")
    await world.desk().delete(sandbox.id)
    woken: list[SandboxId] = []
    await Reconciler(world.ports(), woken.append).compare(sandbox)
    assert not woken
    assert (await world.go_on(sandbox)).state is S.TERMINATED
