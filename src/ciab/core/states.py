"""The states of a sandbox, and the one table that says which moves are legal."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """The same words in database, API, SDK and command line."""

    PENDING = "pending"
    CREATING = "creating"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STARTING = "starting"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    FAILED = "failed"


ENDED = frozenset({State.TERMINATED, State.FAILED})
"""Nothing billable is left and nothing more happens."""

LIVE = frozenset(State) - ENDED
"""A machine may exist."""

MOVING = frozenset(
    {State.PENDING, State.CREATING, State.PAUSING, State.STOPPING, State.STARTING, State.TERMINATING}
)
"""The supervisor's work queue: somebody drives every sandbox in one of these."""

_ONWARD: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.CREATING}),
    State.CREATING: frozenset({State.RUNNING}),
    State.RUNNING: frozenset({State.PAUSING, State.STOPPING}),
    State.PAUSING: frozenset({State.PAUSED, State.RUNNING}),
    State.PAUSED: frozenset({State.STARTING, State.STOPPING}),
    State.STOPPING: frozenset({State.STOPPED}),
    State.STOPPED: frozenset({State.STARTING}),
    State.STARTING: frozenset({State.RUNNING, State.PAUSED, State.STOPPED}),
    State.TERMINATING: ENDED,
    State.TERMINATED: frozenset(),
    State.FAILED: frozenset(),
}

MOVES: Mapping[State, frozenset[State]] = {
    state: onward | ({State.TERMINATING} if state in LIVE and state is not State.TERMINATING else frozenset())
    for state, onward in _ONWARD.items()
}
"""From a state to those it may move to."""
