"""The guardian as a process, with commands in PATH that only note that they were called."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

import pytest

LIMIT = 1.5
"""Seconds without a change after which it acts."""
GUARDIAN = str(resources.files("ciab.guest").joinpath("guardian.py"))


class Guarded:
    """A folder that is guarded. `begin` is what a boot does."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder / "guarded"
        self.file = self.folder / "heartbeat"
        self.called = folder / "called"
        self._stack = stack
        self._commands = folder / "commands"
        self._commands.mkdir()
        for name in ("shutdown", "poweroff"):
            (self._commands / name).write_text(f'#!/bin/sh\necho "{name} $@" >>{self.called}\n')
            (self._commands / name).chmod(0o755)

    def begin(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARDIAN, "nobody", str(LIMIT), "watch"],
            env={"PATH": f"{self._commands}:/usr/bin:/bin", "CIAB_FOLDER": str(self.folder)},
            stderr=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        until(self.folder.exists)
        return process

    def lives(self, seconds: float, act: Callable[[int], object] = lambda _: None) -> bool:
        """Whether it does nothing for so long, while `act` is done again and again."""
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end and not self.called.exists():
            act(number)
            number += 1
            time.sleep(0.1)  # the time in which nothing may happen is what is tested
        return not self.called.exists()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    with ExitStack() as stack:
        yield Guarded(tmp_path, stack)


def test_silence_ends_the_machine_and_beats_do_not(guarded: Guarded) -> None:
    guarded.begin()
    assert guarded.lives(2 * LIMIT, lambda n: guarded.file.write_text(f"{n}"))
    assert not guarded.lives(4 * LIMIT)
    assert guarded.called.read_text() == "shutdown -P now\n"


def test_files_that_are_touched_make_no_beat(guarded: Guarded) -> None:
    guarded.begin()
    until(guarded.file.exists)
    guarded.file.write_text("a word")
    assert not guarded.lives(4 * LIMIT, lambda n: os.utime(guarded.file, (n * 1e6, n * 1e6)))


def test_a_folder_that_is_deleted_again_and_again_makes_no_beat_and_comes_back(guarded: Guarded) -> None:
    guarded.begin()
    assert not guarded.lives(4 * LIMIT, lambda _: shutil.rmtree(guarded.folder, ignore_errors=True))


def test_a_folder_that_was_deleted_is_made_again_for_the_next_beat(guarded: Guarded) -> None:
    guarded.begin()
    until(guarded.file.exists)
    shutil.rmtree(guarded.folder)
    until(guarded.file.exists)
    assert guarded.lives(2 * LIMIT, lambda n: guarded.file.write_text(f"{n}"))


@pytest.mark.parametrize("kind", ["fifo", "folder", "link to what changes"])
def test_what_is_no_file_makes_no_beat_and_holds_nothing_up(guarded: Guarded, kind: str) -> None:
    guarded.folder.mkdir()
    if kind == "fifo":
        os.mkfifo(guarded.file)
    elif kind == "folder":
        guarded.file.mkdir()
    else:
        guarded.file.symlink_to("/dev/urandom")
    guarded.begin()
    assert not guarded.lives(4 * LIMIT)


def test_off_is_off_over_boots_until_the_next_beat(guarded: Guarded) -> None:
    for _ in range(2):
        process = guarded.begin()
        guarded.file.write_text("off")
        assert guarded.lives(2 * LIMIT)
        process.kill()
        process.wait()
    guarded.begin()
    assert guarded.lives(1.5 * LIMIT)
    guarded.file.write_text("a word")
    assert not guarded.lives(4 * LIMIT)


def test_time_in_which_it_does_not_run_does_not_count(guarded: Guarded) -> None:
    """As when a machine is hibernated on a kernel whose clock goes on."""
    process = guarded.begin()
    process.send_signal(signal.SIGSTOP)
    assert guarded.lives(2 * LIMIT)
    process.send_signal(signal.SIGCONT)
    assert guarded.lives(0.3 * LIMIT)
    assert not guarded.lives(4 * LIMIT)
