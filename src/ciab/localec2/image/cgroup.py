"""The control group of an image machine: where it is, how it is frozen and emptied."""

import select
import time
from contextlib import suppress
from pathlib import Path


def own_cgroup() -> Path | None:
    """The folder of this process's own cgroup v2; None without a mounted one."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    where = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    memberships = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line[3:] for line in memberships if line.startswith("0::")), None)
    if where is None or own is None or not (path := where / own.strip("/")).is_dir():
        return None
    return path


def freeze_cgroup(path: Path, frozen: bool, seconds: float = 5.0) -> None:
    """Stop every process in it and below, or let all of them go on (cgroup.freeze, since Linux 5.2).

    Blocking. Raises TimeoutError when that does not happen in that time, OSError when it is gone.
    """
    (path / "cgroup.freeze").write_text(str(int(frozen)))
    deadline = time.monotonic() + seconds
    with (path / "cgroup.events").open() as events:
        changed = select.poll()
        changed.register(events, select.POLLPRI)
        while f"frozen {int(frozen)}" not in events.read():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"processes in {path} did not change within {seconds:g} s")
            changed.poll(left * 1000)
            events.seek(0)


def empty_cgroup(path: Path, seconds: float = 5.0) -> None:
    """Kill every process in it and below, and remove it. One that does not exist is no error.

    Blocking. Raises TimeoutError when a process does not die in that time.
    """
    deadline = time.monotonic() + seconds
    while path.is_dir():
        with suppress(OSError):  # gone meanwhile, or a kernel before 5.14
            (path / "cgroup.kill").write_text("1")
        for child in sorted(path.rglob("*/"), reverse=True):
            with suppress(OSError):  # not empty yet, or gone
                child.rmdir()
        with suppress(OSError):
            path.rmdir()
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes in {path} could not be ended within {seconds:g} s")
        time.sleep(0.005)  # the kernel has no event for "empty and removable"
