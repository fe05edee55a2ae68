"""Following events over broken connections, on a stand-in for the server."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import islice

import pytest

from ciab.core.errors import SandboxNotFound
from ciab.core.states import ENDED, State
from ciab.schema.events import StreamEvent
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk import following
from ciab.sdk.errors import ServerUnreachable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def event(number: int | None, kind: str = "log_line", **data: object) -> StreamEvent:
    return StreamEvent(id=number, sandbox_id="s", event_type=kind, data=data, timestamp=NOW)


def moved(number: int, state: State) -> StreamEvent:
    return event(number, "sandbox_state_changed", to=str(state))


class Server:
    """Its story, and after how many events each connection breaks, or ends without a word."""

    def __init__(self, story: list[StreamEvent], breaks: list[int], state: State = State.TERMINATED) -> None:
        self.story = story
        self.breaks = breaks
        self.asked: list[int] = []
        self.state = state

    async def open_after(self, last: int) -> AsyncGenerator[StreamEvent, None]:
        self.asked.append(last)
        yield event(None, "connected")
        rest = [kept for kept in self.story if kept.id is None or kept.id > last]
        for kept in islice(rest, self.breaks[0] if self.breaks else None):
            yield kept
        if self.breaks:
            self.breaks.pop(0)
            raise ServerUnreachable("broke")

    async def look(self) -> SandboxInfo:
        return SandboxInfo(
            id="s",
            name="s",
            state=self.state,
            persistence="ephemeral",
            agent_provider="command",
            labels={},
            created_at=NOW,
            updated_at=NOW,
            spec=SandboxSpec(agent_provider="command"),
        )


def at_once(attempt: int) -> float:
    return 0.0


async def ids(server: Server, after: int = 0) -> list[int]:
    events = following.follow(server.open_after, server.look, after, at_once)
    return [event.id async for event in events if event.id is not None]


@pytest.mark.parametrize("breaks", [[], [0], [1], [1, 0, 2], [0, 0, 0, 3]])
async def test_broken_connections_leave_no_gap_and_no_repeat(breaks: list[int]) -> None:
    story = [*(event(number) for number in range(1, 9)), moved(9, State.TERMINATED)]
    assert await ids(Server(story, breaks)) == list(range(1, 10))


async def test_events_that_the_server_repeats_are_told_once() -> None:
    story = [event(1), event(2), event(2), event(1), event(3), moved(4, State.FAILED)]
    assert await ids(Server(story, [])) == [1, 2, 3, 4]


async def test_it_goes_on_after_the_event_one_names() -> None:
    server = Server([event(1), event(2), moved(3, State.TERMINATED)], [])
    assert await ids(server, after=1) == [2, 3]
    assert server.asked == [1]


async def test_a_story_that_ended_long_ago_ends() -> None:
    server = Server([event(1), moved(2, State.TERMINATED)], [])
    assert await ids(server, after=2) == []


async def test_after_an_eviction_it_goes_on_at_the_oldest_kept() -> None:
    story = [event(None, "reconnect", oldest_id=40), event(40), moved(41, State.TERMINATED)]
    server = Server(story, [1])
    assert await ids(server, after=5) == [40, 41]
    assert server.asked == [5, 39]


async def test_what_will_not_get_better_is_raised() -> None:
    async def gone(last: int) -> AsyncGenerator[StreamEvent, None]:
        raise SandboxNotFound("gone")
        yield event(1)

    with pytest.raises(SandboxNotFound):
        [event async for event in following.follow(gone, Server([], []).look, 0, at_once)]


async def test_a_wait_tells_the_story_up_to_the_state_it_waits_for() -> None:
    story = [moved(1, State.CREATING), event(2), moved(3, State.RUNNING)]
    server = Server(story, [], state=State.RUNNING)
    told: list[int | None] = []
    events = following.follow(server.open_after, server.look, 0, at_once)
    async with aclosing(events):
        info = await following.wait_until(
            server.look, events, {State.RUNNING} | ENDED, lambda event: told.append(event.id)
        )
    assert info.state is State.RUNNING
    assert [number for number in told if number] == [1, 2, 3]
