"""What runs on the machine, and which of it is the user's.

Shared by the programs beside it, which are sent together with it. Needs Linux and Python 3.8.

The user's are the processes with the user's id, those in `user.slice` (what `sudo` started there has another
id), those in containers, and all below any of these. Not the user's are SSH servers, the guest programs and
the supervisors of their commands, the guardian, `systemd --user`, and whoever asks, up to the first process.
A machine is all that is below its first process: pid 1, or what CIAB_FIRST_PROCESS says on machines that see
the processes of others too.
"""

# pathlib would cost every call its import:
# ruff: noqa: PTH103, PTH105, PTH111, PTH112, PTH118, PTH123, PTH208

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable

GUEST, GUARDIAN = "ciab-guest", "ciab-guardian"
SSH_SERVERS = ("sshd", "sshd-session", "sshd-auth")
OURS = (*SSH_SERVERS, "sftp-server", GUARDIAN)
SLICES = ("/user.slice/", "/docker-", "/docker/", "/libpod-", "/kubepods")
"""Parts of the names of control groups in which the user's processes are, whatever id they have."""
FIRST = int(os.environ.get("CIAB_FIRST_PROCESS", "1"))
NOTES = os.path.expanduser("~/.ciab")


class Process:
    """One process at one moment. Times are in clock ticks; `kids` is of children that have ended."""

    __slots__ = ("kids", "name", "own", "parent", "pid", "start", "state")

    def __init__(self, pid: int, stat: str) -> None:
        name, _, rest = stat.partition("(")[2].rpartition(")")
        fields = rest.split()  # from the third field of proc(5) on
        self.pid, self.name, self.state, self.parent = pid, name, fields[0], int(fields[1])
        self.own = int(fields[11]) + int(fields[12])
        self.kids = int(fields[13]) + int(fields[14])
        self.start = int(fields[19])


def look() -> dict[int, Process]:
    """Every process there is."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found[int(name)] = Process(int(name), read(f"/proc/{name}/stat"))
    return found


def boot(first: int = FIRST) -> str:
    """Another text after every boot, of machines too that are boots of namespaces only."""
    start = Process(first, read(f"/proc/{first}/stat")).start
    return f"{read('/proc/sys/kernel/random/boot_id').strip()}-{start}"


def line_up(pid: int, processes: dict[int, Process]) -> list[int]:
    """A process and those above it."""
    line = [pid]
    while line[-1] in processes:
        line.append(processes[line[-1]].parent)
    return line


def of_the_user(processes: dict[int, Process], uid: int, first: int = FIRST) -> list[Process]:
    """The user's, parents before their children."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    us = set(line_up(os.getpid(), processes))
    sliced = "/user.slice/" in read("/proc/self/cgroup")
    queue = [(child, False) for child in children.get(first, [])]
    found = []
    for process, below_theirs in queue:
        ours = process.pid in us or _is_ours(process, processes)
        theirs = not ours and (below_theirs or _is_theirs(process, processes, uid, sliced))
        if theirs:
            found.append(process)
        queue += [(child, theirs) for child in children.get(process.pid, [])]
    return found


def _is_ours(process: Process, processes: dict[int, Process]) -> bool:
    if process.name != GUEST:
        return process.name in OURS
    # a guest program or a supervisor; below one of these it is a command that has not begun yet
    names = [processes[pid].name for pid in line_up(process.pid, processes)[1:3] if pid in processes]
    return names != [GUEST, GUEST]


def _is_theirs(process: Process, processes: dict[int, Process], uid: int, sliced: bool) -> bool:
    parent = processes.get(process.parent)
    if parent and parent.name == GUEST:  # a command of ours, by whatever id
        return True
    try:
        groups = read(f"/proc/{process.pid}/cgroup")
        ids = read(f"/proc/{process.pid}/status").partition("\nUid:")[2].split(None, 2)[:2]
    except OSError:  # it has ended meanwhile
        return False
    if any(line.endswith("/init.scope") for line in groups.splitlines()):  # systemd --user, (sd-pam)
        return False
    if any(name in groups for name in SLICES):
        return True
    # where root is the user, a slice tells its own processes from the machine's
    return str(uid) in ids and not (uid == 0 and sliced)


def answer(work: Callable[[], dict[str, object]]) -> None:
    """Print what it gives as JSON, or end with what the system refused, in words."""
    try:
        print(json.dumps(work()))  # noqa: T201 - the answer
    except OSError as error:
        sys.exit(f"{error.filename or 'the machine'}: {error.strerror}")


def read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


def notes(folder: str, name: str, of_boot: str) -> dict[str, object]:
    """What was noted in this boot; what another boot noted is of no use."""
    with contextlib.suppress(OSError, ValueError):
        noted = json.loads(read(os.path.join(folder, name)))
        if isinstance(noted, dict) and noted.get("boot") == of_boot:
            return noted
    return {"boot": of_boot}


def note(folder: str, name: str, noted: dict[str, object], uid: int) -> None:
    """Replace the notes in one move, for the user alone to read."""
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700, exist_ok=True)
    draft = os.path.join(folder, f".{name}-{os.getpid()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, json.dumps(noted).encode())
        os.fchown(file, uid, -1)
    finally:
        os.close(file)
    os.replace(draft, os.path.join(folder, name))
