"""What is told while one waits for a sandbox."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from ciab.cli.sandbox.waiting import settled
from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.events import StreamEvent
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client

NOW = datetime(2026, 1, 2, tzinfo=UTC)
INFO = SandboxInfo(
    id="s",
    name="box",
    state=State.STARTING,
    persistence=Persistence.EPHEMERAL,
    agent_provider="command",
    labels={},
    created_at=NOW - timedelta(hours=1),
    updated_at=NOW,
    spec=SandboxSpec(agent_provider="command"),
)


@dataclass
class Teller:
    """A client whose sandbox has come to rest, with this story behind it."""

    story: Sequence[StreamEvent]

    async def wait_until(self, sandbox: str, *, on_event: Callable[[StreamEvent], None]) -> SandboxInfo:
        for event in self.story:
            on_event(event)
        return INFO.model_copy(update={"state": State.RUNNING})


def warning(message: str, at: datetime) -> StreamEvent:
    data = {"code": "budget_warning", "message": message}
    return StreamEvent(id=1, sandbox_id="s", event_type="sandbox_warning", data=data, timestamp=at)


async def test_a_move_tells_its_own_warnings_and_no_old_ones(capsys: pytest.CaptureFixture[str]) -> None:
    story = [warning("long ago", NOW - timedelta(minutes=1)), warning("80 % are spent", NOW)]
    info = await settled(cast(Client, Teller(story)), INFO, quiet=False)
    assert info.state is State.RUNNING
    assert capsys.readouterr().err == "  warning: 80 % are spent [budget_warning]\n"


async def test_programs_are_told_nothing_in_between(capsys: pytest.CaptureFixture[str]) -> None:
    await settled(cast(Client, Teller([warning("80 % are spent", NOW)])), INFO, quiet=True)
    assert capsys.readouterr().err == ""
