"""The end of whole process trees, by parentage and never by user id. Linux."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def descendants(root: int) -> set[int]:
    """Every living process below `root`, without `root`: children, their children and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _living_parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found.update(below)
        queue += below
    return found


def signal_descendants(root: int, *signals: signal.Signals) -> set[int]:
    """Send each signal to all of them; return whom."""
    found = descendants(root)
    for number in signals:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    return found


def kill_descendants(root: int) -> None:
    """Kill every process below `root`, which must be their sub-reaper, and whatever they start meanwhile.

    They are stopped first and looked for again until none is new, so that nothing can fork away.
    Returns when all have been sent KILL; the caller reaps its own children.
    """
    stopped: set[int] = set()
    while new := descendants(root) - stopped:
        for pid in new:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _living_parent(entry: Path) -> int | None:
    try:
        stat = (entry / "stat").read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return None if state in "ZX" else int(parent)
