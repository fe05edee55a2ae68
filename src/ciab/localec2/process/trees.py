"""The end of whole process trees, by parentage and never by user id. Linux."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def descendants(root: int) -> set[int]:
    """Every living process below `root`, without `root`: children, their children and so on."""
    return set(_below(root))


def freeze_descendants(root: int) -> list[int]:
    """Stop every process below `root`, and whatever they start meanwhile; those that `thaw` must wake.

    What is stopped already, a job under ^Z, is left to whoever stopped it.
    """
    frozen: list[int] = []
    seen: set[int] = set()
    while new := {pid: state for pid, state in _below(root).items() if pid not in seen}:
        for pid, state in new.items():
            if state not in "Tt":
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    frozen.append(pid)
        seen |= new.keys()
    return frozen


def thaw(frozen: list[int]) -> None:
    """Wake what `freeze_descendants` has stopped: children first, or a shell takes its job for stopped."""
    for pid in reversed(frozen):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


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


def _below(root: int) -> dict[int, str]:
    """Pid to state, as proc(5) letters it; parents before their children."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (living := _living(entry)) is not None:
            parent, state = living
            children.setdefault(parent, []).append((int(entry.name), state))
    found: dict[int, str] = {}
    queue = [root]
    for pid in queue:
        below = children.get(pid, [])
        found.update(below)
        queue += [child for child, _ in below]
    return found


def _living(entry: Path) -> tuple[int, str] | None:
    """Parent and state; None for what has ended."""
    try:
        stat = (entry / "stat").read_text(errors="replace")
    except OSError:  # it has ended meanwhile
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return None if state in "ZX" else (int(parent), state)
