"""The region's folder: one process at a time, files that only the owner reads, writes that are whole or not.

What is in it: `lock`, `endpoint.json` while a region serves, `process.json` (port and addresses to use
again), `regions/` (the state, see `state`), `machines/<instance id>/` (the disks).
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Any


class FolderInUse(Exception):
    """Another region process serves from this folder; the message names it."""


class StateError(Exception):
    """The state in the folder cannot be used; the message says why and what to do."""


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.states = path / "regions"
        self.machines = path / "machines"
        self._endpoint = path / "endpoint.json"
        self._process = path / "process.json"
        for directory in (path, self.states, self.machines):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def claim(self) -> None:
        """Raises FolderInUse. The kernel ends the claim with the process."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(self._lock, 20, 0).decode().strip() or "unknown"
            raise FolderInUse(
                f"the region in {self.path} is served already, by process {pid}; use that one or end it first"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def announce(self, endpoint: dict[str, Any]) -> None:
        write(self._endpoint, json.dumps(endpoint).encode())

    def withdraw(self) -> None:
        self._endpoint.unlink(missing_ok=True)

    def remembered(self) -> dict[str, int]:
        """`port`, `block` and `cursor` of the last start; {} at the first."""
        try:
            return dict(json.loads(self._process.read_text()))
        except FileNotFoundError:
            return {}

    def remember(self, **facts: int) -> None:
        write(self._process, json.dumps(self.remembered() | facts).encode())


def write(path: Path, content: bytes) -> None:
    """Replace the file in one step, mode 0600. Outlives the process's death, not the machine's: no fsync."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(0o600, exist_ok=False)
    new.write_bytes(content)
    new.replace(path)
