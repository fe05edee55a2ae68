"""Sandboxes as a test knows them: what it last saw of each, what it has asked for, what may come of that."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ciab.core.errors import CiabError
from ciab.core.sandbox import Held
from ciab.core.spec import Persistence
from ciab.core.states import ENDED, State
from ciab.schema.exec import ExecRequest
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.sdk.client import Client

TICK = "echo $$ > ~/ticker; while :; do echo >> ~/ticks; sleep 0.2; done"
BEGIN_TICKING = (
    f"rm -f ~/ticks; setsid sh -c '{TICK}' </dev/null >/dev/null 2>&1 & "
    "until [ -s ~/ticks ]; do sleep 0.02; done"
)
STILL_TICKS = (
    "kill -0 $(cat ~/ticker) && n=$(stat -c %s ~/ticks) && "
    "until [ $(stat -c %s ~/ticks) -gt $n ]; do sleep 0.05; done"
)

Verb = Callable[[Client, str], Awaitable[object]]
VERBS: dict[str, tuple[Verb, State]] = {
    "pause": (Client.pause_sandbox, State.PAUSED),
    "resume": (Client.resume_sandbox, State.RUNNING),
    "stop": (Client.stop_sandbox, State.STOPPED),
    "start": (Client.start_sandbox, State.RUNNING),
    "delete": (Client.delete_sandbox, State.TERMINATED),
}
WISHES = {
    State.RUNNING: (*["pause"] * 5, *["stop"] * 2, "delete"),
    State.PAUSED: (*["resume"] * 6, "stop", "delete"),
    State.STOPPED: (*["start"] * 7, "delete"),
}


@dataclass(slots=True)
class Box:
    """One sandbox. `state` is None until it was seen; `goal` is None when nothing was asked of it."""

    name: str
    persistence: Persistence
    state: State | None = None
    held: Held | None = None
    goal: State | None = None
    acknowledged: bool = False
    mark: str = ""
    """What was last written to a file on it."""
    ticks: bool = False
    """A process that was begun on this boot of it must still be there."""

    async def ask(self, client: Client, chance: random.Random) -> None:
        """Ask for the next thing; a server that is killed meanwhile has promised nothing."""
        try:
            if self.state is None:
                self.goal = State.RUNNING
                await client.create_sandbox(
                    SandboxSpec(agent_provider="command", name=self.name, persistence=self.persistence)
                )
            else:
                verb, self.goal = VERBS[chance.choice(WISHES[self.state])]
                await verb(client, self.name)
        except CiabError:
            return
        self.acknowledged = True

    def may_be(self, *, ending: bool, ending_saved: bool) -> set[State | None]:
        """Where it may be when all has come to rest; None: it may never have been made."""
        allowed = {self.goal} if self.acknowledged else {self.state, self.goal or self.state}
        if not ending or allowed == {State.TERMINATED}:
            return allowed
        if self.persistence is Persistence.EPHEMERAL:
            ended: set[State | None] = {State.TERMINATED}
            if not self.acknowledged and self.state is None:
                ended.add(None)
            return ended if ending_saved else allowed | ended
        # one that has never run has nothing that is worth keeping
        return allowed | ({State.STOPPED} if self.state else {State.STOPPED, State.TERMINATED})

    def seen(self, info: SandboxInfo | None) -> None:
        """Take note of where it is now."""
        state = info.state if info else None
        booted = self.state is State.STOPPED or self.held is Held.STOPPED
        if booted or state in (None, State.STOPPED):
            self.ticks = False
        self.state, self.goal, self.acknowledged = state, None, False
        self.held = info.held if info else None
        if self.held is Held.STOPPED:
            self.ticks = False

    @property
    def gone(self) -> bool:
        """Whether nothing more can be asked of it."""
        return self.state in ENDED

    async def used(self, client: Client, word: str) -> None:
        """What was written is there, what ran runs on; then write and begin anew."""
        if self.mark:
            assert await self._said(client, "cat ~/mark") == self.mark, self
        if self.ticks:
            await self._said(client, STILL_TICKS)
        self.mark = f"{self.name} {word}"
        await self._said(client, f"echo '{self.mark}' > ~/mark")
        if not self.ticks:
            await self._said(client, BEGIN_TICKING)
            self.ticks = True

    async def _said(self, client: Client, script: str) -> str:
        request = ExecRequest(command=["sh", "-c", script], timeout_secs=30)
        ran = await client.exec(self.name, request)
        assert ran.exit_code == 0, (self, script, ran)
        return ran.stdout.strip()


@dataclass(slots=True)
class Boxes:
    """All of them, and as many anew as are needed to keep `count` alive."""

    count: int
    chance: random.Random
    every: list[Box] = field(default_factory=list)

    def of_this_round(self) -> list[Box]:
        """Who is asked for something now, in any order."""
        living = [box for box in self.every if not box.gone and box.state]
        while len(living) < self.count:
            # an end of the server leaves the persistent ones
            persistence = self.chance.choice([Persistence.EPHEMERAL, *[Persistence.PERSISTENT] * 2])
            living.append(Box(f"box-{len(self.every)}", persistence))
            self.every.append(living[-1])
        self.chance.shuffle(living)
        return living
