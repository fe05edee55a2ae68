"""A child process whose end an event loop can wait for.

By pidfd (Linux 5.3): no thread per process as with asyncio's default watcher, and the child is reaped
even if nobody waits any more, because its session has gone.
"""

import asyncio
import os
import subprocess
from typing import Any


class Child:
    """Starts at once; needs a running loop. Options are subprocess.Popen's. Raises OSError."""

    def __init__(self, argv: list[str], **options: Any) -> None:
        self._popen = subprocess.Popen(argv, start_new_session=True, **options)
        self.pid = self._popen.pid
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(self.pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._popen.wait()
        self._ended.set()

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    async def wait(self) -> int:
        """The exit code; minus the signal's number if one ended it."""
        await self._ended.wait()
        return self._popen.returncode
