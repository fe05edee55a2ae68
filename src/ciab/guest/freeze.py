"""Stops every process of the user's, or lets go on what was stopped so: `freeze` or `thaw`.

Whom it stops is noted in ~/.ciab/frozen before: `thaw` continues exactly these, in this boot only; what the
user had stopped stays stopped. Parents are stopped first and continued last, so that no shell takes its job
for one that its user has stopped. Processes of other ids (`sudo`) are reached by `sudo -n`, tried when one is
met. Prints JSON: {stopped: how many} or {thawed: how many}, and {left: [names]} of those out of reach.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from .processes import (
    FIRST,
    GUEST,
    NOTES,
    Process,
    answer,
    boot,
    line_up,
    look,
    note,
    notes,
    of_the_user,
    read,
)

STILL = "TtZXx"
"""States, as proc(5) letters them, in which a process does nothing."""
SECONDS = 10.0
"""For a machine that starts new processes faster than they are stopped."""
PAUSE = 0.02


class Freezer:
    """Works for one user on one machine; as root when there are processes that the user may not signal."""

    def __init__(self, uid: int, first: int, folder: str) -> None:
        self.uid, self.first, self.folder = uid, first, folder
        self.boot = boot(first)
        noted = notes(folder, "frozen", self.boot).get("stopped")
        self.stopped = {tuple(one) for one in noted} if isinstance(noted, list) else set()
        """Pid and start of each."""
        self.denied: dict[int, str] = {}

    def freeze(self) -> dict[str, object]:
        """Look again until two looks have found nobody moving: the second sees what the first passed by."""
        deadline = time.monotonic() + SECONDS
        quiet = 0
        while quiet < 2:
            processes = look()
            moving = [one for one in of_the_user(processes, self.uid, self.first) if self._moves(one)]
            self._stop(moving)
            quiet = 0 if moving or _begins_a_command(processes) else quiet + 1
            if time.monotonic() > deadline:
                return {"left": sorted({one.name for one in moving} or {GUEST})}
            time.sleep(PAUSE)
        return {"stopped": len(self.stopped), "left": sorted(set(self.denied.values()))}

    def thaw(self) -> dict[str, object]:
        """Until none of them stands still: what a debugger held stops once more before it goes on."""
        thawed = 0
        for again in range(10):
            processes = look()
            theirs = [one for one in processes.values() if (one.pid, one.start) in self.stopped]
            held = [one for one in theirs if one.state in "Tt" and one.pid not in self.denied]
            if not held:
                break
            thawed = thawed if again else len(held)
            for one in sorted(held, key=lambda one: -len(line_up(one.pid, processes))):
                self._signal(one, signal.SIGCONT)
            time.sleep(PAUSE)
        if not self.denied:
            self.stopped = set()
            self._note()
        return {"thawed": thawed, "left": sorted(set(self.denied.values()))}

    def _moves(self, one: Process) -> bool:
        if one.pid in self.denied or one.state in STILL:
            return False
        return one.state != "D" or (one.pid, one.start) not in self.stopped  # it stops when it wakes up

    def _stop(self, moving: list[Process]) -> None:
        if moving:
            self.stopped |= {(one.pid, one.start) for one in moving}
            self._note()
            for one in moving:
                self._signal(one, signal.SIGSTOP)

    def _signal(self, one: Process, number: signal.Signals) -> None:
        try:
            os.kill(one.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            self.denied[one.pid] = one.name

    def _note(self) -> None:
        note(self.folder, "frozen", {"boot": self.boot, "stopped": sorted(self.stopped)}, self.uid)


def _begins_a_command(processes: dict[int, Process]) -> bool:
    """A supervisor that runs has been given a command, and what it starts is not there yet."""
    us = line_up(os.getpid(), processes)
    parents = {one.pid: processes.get(one.parent) for one in processes.values()}
    return any(
        one.name == GUEST and one.state == "R" and one.pid not in us and parent and parent.name == GUEST
        for one in processes.values()
        for parent in [parents[one.pid]]
    )


def as_root(word: str, source: str) -> dict[str, object] | None:
    """The same once more by sudo; None where that is not allowed."""
    import subprocess

    *python, _, _ = read("/proc/self/cmdline").split("\0")
    argv = ["sudo", "-n", *python, word, str(os.getuid()), str(FIRST), NOTES]
    ran = subprocess.run(argv, input=source.encode(), capture_output=True, check=False)
    try:
        said = json.loads(ran.stdout)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def main(word: str, uid: str = "", first: str = "", folder: str = "") -> dict[str, object]:
    freezer = Freezer(int(uid or os.getuid()), int(first or FIRST), folder or NOTES)
    result = freezer.freeze() if word == "freeze" else freezer.thaw()
    if result["left"] and not uid:
        source = getattr(sys.modules[__package__ or ""], "source", "")
        result = as_root(word, source) or result
    if result["left"] and word == "freeze" and not uid:
        main("thaw")
    return result


if __name__ == "__main__":
    answer(lambda: main(*sys.argv[1:]))
