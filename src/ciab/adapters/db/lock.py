"""One server per database: an exclusive flock on `<database>.lock`, which also says who holds it.

The kernel gives the lock up when its holder dies, however it dies; what the file says counts only while
it is locked.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ciab.core.errors import ConfigError

_PATIENCE_SECS = 0.5
"""Whoever reads the lock holds it for a moment, too."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the database; where its server listens, once it does."""

    pid: int
    host: str | None = None
    port: int | None = None


class DatabaseLock:
    """The lock, held until `release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, database: Path) -> "DatabaseLock":
        """Blocks for half a second at most. Raises ConfigError naming the holder's pid."""
        path = lock_path(database)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _PATIENCE_SECS
        while not _flock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = _read(descriptor)
                os.close(descriptor)
                who = f"process {holder.pid}" if holder else "another process"
                raise ConfigError(
                    f"the database {database} is in use by {who}",
                    hint="stop that server first (ciab server stop), or give this one a database of its own",
                )
            time.sleep(0.02)
        lock = cls(descriptor)
        lock._write(Holder(os.getpid()))
        return lock

    def publish(self, host: str, port: int) -> None:
        """Say where this process's server listens."""
        self._write(Holder(os.getpid(), host, port))

    def release(self) -> None:
        """Give the lock up. The file stays: a lock on a file that was removed excludes nobody."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _write(self, holder: Holder) -> None:
        text = json.dumps(asdict(holder)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)


def lock_path(database: Path) -> Path:
    """Where the lock of this database lies."""
    return database.with_name(database.name + ".lock")


def holder_of(database: Path) -> Holder | None:
    """Who has this database open now; None when nobody has."""
    try:
        descriptor = os.open(lock_path(database), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return None if _flock(descriptor, fcntl.LOCK_SH) else _read(descriptor)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None
