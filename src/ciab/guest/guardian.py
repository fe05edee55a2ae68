"""The dead-man's switch: switches the machine off when nobody has thought of it for too long.

    python3 -I -S -c TEXT USER SECONDS      as root, at every boot; returns when the daemon is started

The control plane writes to /var/lib/ciab/heartbeat as USER, who owns that folder. Whenever the file's
content changes the count begins anew; `off` takes the switch off until the content changes, over reboots
too; whatever else it holds at boot counts as armed from then on. After SECONDS without a change the machine
is shut down.

Only CLOCK_MONOTONIC is looked at, no wall clock and no file's time: set clocks, a stop and a hibernation
count for nothing. A file that is gone or cannot be read is no change. This guards against forgetting a
machine, not against its root. Needs Linux and Python 3.8. Machines that are not alone in their file system,
and have no users of their own, name another folder than /var/lib/ciab by CIAB_FOLDER.
"""

# pathlib would cost every boot its import:
# ruff: noqa: PTH103, PTH112, PTH116, PTH118, PTH123

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import time

FOLDER = os.environ.get("CIAB_FOLDER", "/var/lib/ciab")
FILE = os.path.join(FOLDER, "heartbeat")
BLANK = b" " * 63 + b"\n"
"""What a new file holds: beats of this length can be written over it when the disk is full."""
OFF = b"off"
FORCE_SECONDS = 90.0
UNIT = "ciab-guardian"
SERVICE = (
    # DefaultDependencies: from early boot on, and still there while a shutdown hangs
    *("systemd-run", "--no-block", "--quiet", f"--unit={UNIT}", "-p", "DefaultDependencies=no"),
    *("-p", "Restart=always", "-p", "RestartSec=3", "-p", "OOMScoreAdjust=-1000"),
    *("-p", "StandardError=journal+console"),
)


class Count:
    """How long nothing was heard, in seconds of a clock that is passed in."""

    def __init__(self, limit: float, most: float, now: float, content: bytes | None) -> None:
        """Of the time between two looks at most `most` counts: more means that nothing ran here."""
        self.limit, self.most, self.looked, self.content = limit, most, now, content
        self.silent = 0.0

    def is_over(self, now: float, content: bytes | None) -> bool:
        """`content` is None where there is none to be read."""
        self.silent += min(now - self.looked, self.most)
        self.looked = now
        if content is not None and content != self.content:
            self.content, self.silent = content, 0.0
        return self.content != OFF and self.silent >= self.limit


def read() -> bytes | None:
    try:
        file = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # never waits on a FIFO
        try:
            return os.read(file, 4096).strip() or None
        finally:
            os.close(file)
    except OSError:
        return None


def keep_folder(user: str) -> bool:
    """Make folder and file when they are not there; False while there is no user yet, for instance."""
    with contextlib.suppress(OSError, KeyError):
        owner = os.getuid()
        if owner == 0 and "CIAB_FOLDER" not in os.environ:
            owner = pwd.getpwnam(user).pw_uid
        os.makedirs(FOLDER, exist_ok=True)
        if os.stat(FOLDER).st_uid != owner:
            os.chown(FOLDER, owner, -1)
        if not os.path.lexists(FILE):
            file = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(file, BLANK)
            os.fchown(file, owner, -1)
            os.close(file)
        return True
    return False


def watch(user: str, seconds: float) -> None:
    every = max(0.1, min(2.0, seconds / 20))
    count = Count(seconds, 10 * every, time.monotonic(), read())
    while not count.is_over(time.monotonic(), read()):
        time.sleep(every if keep_folder(user) else 0.1)
    said = f"ciab: nothing was heard of the control plane for {seconds:g} s: this machine ends itself\n"
    os.write(2, said.encode())
    while True:
        for command in ("shutdown -P now", "poweroff -f"):
            os.system(command)  # noqa: S605 - a constant
            time.sleep(FORCE_SECONDS)


def start_service(user: str, seconds: str) -> bool:
    """By systemd, where it runs; from a folder in which root alone writes and that no full disk concerns."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    with open("/proc/self/cmdline") as words:
        text = words.read().split("\0-c\0")[1].split("\0")[0]
    path = f"/run/{UNIT}.py"
    with open(path, "w") as file:
        file.write(text)
    argv = [*SERVICE, sys.executable, "-I", "-S", path, user, seconds, "watch"]
    return os.spawnvp(os.P_WAIT, argv[0], argv) == 0  # noqa: S606 - a shell has no place here


def become_daemon() -> None:
    """Without systemd: two processes in a session of their own, the first starts the second again."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    while child := os.fork():
        os.waitpid(child, 0)
        time.sleep(1)


if __name__ == "__main__":
    os.umask(0o022)
    with open("/proc/self/comm", "w") as name:
        name.write(UNIT)  # by which a freeze of the user's processes knows what it must leave alone
    if len(sys.argv) == 3 and start_service(*sys.argv[1:]):
        sys.exit()
    if len(sys.argv) == 3:
        become_daemon()
    watch(sys.argv[1], float(sys.argv[2]))
