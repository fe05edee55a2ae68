"""The table of moves: every pair of states, and the promise that every live state can end."""

from datetime import UTC, datetime
from itertools import product

import pytest

from ciab.core.errors import InvalidState
from ciab.core.ids import SandboxId
from ciab.core.sandbox import Failure, Sandbox
from ciab.core.spec import Spec
from ciab.core.states import ENDED, LIVE, MOVES, MOVING, State

LEGAL = """
pending -> creating terminating
creating -> running terminating
running -> pausing stopping terminating
pausing -> paused running terminating
paused -> starting stopping terminating
stopping -> stopped terminating
stopped -> starting terminating
starting -> running paused stopped terminating
terminating -> terminated failed
terminated ->
failed ->
"""
PAIRS = {
    (State(line.split(" ->")[0]), State(to))
    for line in LEGAL.strip().splitlines()
    for to in line.split("->")[1].split()
}


def sandbox(state: State) -> Sandbox:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Sandbox(SandboxId("one"), "one", Spec("command"), state, now, now)


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_every_pair_of_states_obeys_the_table(before: State, after: State) -> None:
    if (before, after) in PAIRS:
        assert sandbox(before).to(after).state is after
    else:
        with pytest.raises(InvalidState) as refused:
            sandbox(before).to(after)
        assert before in refused.value.message
        assert after in refused.value.message
        assert refused.value.hint


def test_every_live_state_reaches_terminating() -> None:
    for state in LIVE - {State.TERMINATING}:
        assert State.TERMINATING in MOVES[state]


def test_ended_states_go_nowhere_and_only_terminating_leads_to_them() -> None:
    assert all(not MOVES[state] for state in ENDED)
    assert {state for state in State if MOVES[state] & ENDED} == {State.TERMINATING}


def test_every_moving_state_can_move_and_no_ended_one_is_moving() -> None:
    assert not MOVING & ENDED
    assert all(MOVES[state] for state in MOVING)


def test_having_run_is_remembered() -> None:
    ran = sandbox(State.CREATING).to(State.RUNNING)
    assert ran.ran
    assert ran.to(State.STOPPING).to(State.STOPPED).ran
    assert not sandbox(State.CREATING).to(State.TERMINATING).ran


def test_a_failure_stays_recorded_until_the_end() -> None:
    failure = Failure("launch_machine", "ec2_error", "no")
    ended = sandbox(State.CREATING).to(State.TERMINATING, failure).to(State.FAILED)
    assert ended.failure == failure
