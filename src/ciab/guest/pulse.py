"""One beat of the control plane's heart: `pulse`, `pulse spot`; or `off`, which takes the switch off.

Prints JSON: {boot, cpu_seconds, over_seconds, interruption}, as core's Pulse has them; `off` prints {}.
What it must remember of the last pulse is in ~/.ciab/pulse and counts for this boot only.
"""

# pathlib would cost every call its import:
# ruff: noqa: PTH112, PTH118

from __future__ import annotations

import json
import os
import sys
import time

from .processes import NOTES, Process, answer, boot, look, note, notes, of_the_user

FOLDER = os.environ.get("CIAB_FOLDER", "/var/lib/ciab")
LENGTH = 64
"""Of every beat: writing over what is there needs no space on a full disk."""
METADATA = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
SECONDS = 1.0


def beat(word: str) -> None:
    """Say it to the guardian, where there is one; see guardian.py."""
    if os.path.isdir(FOLDER):
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.open(os.path.join(FOLDER, "heartbeat"), flags, 0o600)
        os.pwrite(file, word.ljust(LENGTH - 1).encode() + b"\n", 0)
        os.close(file)


def used(before: dict[str, list[int]], now: list[Process]) -> int:
    """Ticks that have passed since `before` (by pid: start, parent, own, kids), of new processes all.

    When a process has ended, its parent has got its ticks among those of its children: what was counted
    before is taken off again. Of each process one tick is left out: it may be no more than the rounding.
    """
    alive = {str(one.pid) for one in now if before.get(str(one.pid), [-1])[0] == one.start}
    counted: dict[str, int] = {}
    for pid in before.keys() - alive:
        heir = str(before[pid][1])
        while heir in before and heir not in alive:
            heir = str(before[heir][1])
        counted[heir] = counted.get(heir, 0) + before[pid][2] + before[pid][3]
    total = 0
    for one in now:
        _, _, own, kids = before[str(one.pid)] if str(one.pid) in alive else (0, 0, 0, 0)
        from_kids = max(0, one.kids - kids - counted.get(str(one.pid), 0))
        total += max(0, one.own - own + from_kids - 1)
    return total


def measure() -> dict[str, object]:
    """The CPU time since the last pulse."""
    this_boot = boot()
    last = notes(NOTES, "pulse", this_boot)
    now, at = of_the_user(look(), os.getuid()), time.monotonic()
    seen = {str(one.pid): [one.start, one.parent, one.own, one.kids] for one in now}
    note(NOTES, "pulse", {"boot": this_boot, "at": at, "seen": seen}, os.getuid())
    before, since = last.get("seen"), last.get("at")
    if not (isinstance(before, dict) and isinstance(since, float) and since < at):
        return {"boot": this_boot, "cpu_seconds": 0.0, "over_seconds": 0.0}
    ticks = used(before, now)
    return {
        "boot": this_boot,
        "cpu_seconds": ticks / os.sysconf("SC_CLK_TCK"),
        "over_seconds": at - since,
    }


def interruption() -> str | None:
    """When EC2 takes this spot instance back, as its metadata service says; None: not that we know."""
    from http.client import HTTPConnection, HTTPException
    from urllib.parse import urlsplit

    def ask(method: str, path: str, header: str, value: str) -> bytes:
        connection = HTTPConnection(urlsplit(METADATA).netloc, timeout=SECONDS)
        try:
            connection.request(method, path, headers={header: value})
            answer = connection.getresponse()
            return answer.read(4096) if answer.status == 200 else b""
        finally:
            connection.close()

    try:
        token = ask("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60").decode()
        text = ask("GET", "/latest/meta-data/spot/instance-action", "X-aws-ec2-metadata-token", token)
        return str(json.loads(text)["time"]) if text else None
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return None


def main(word: str, spot: str = "") -> dict[str, object]:
    if word == "off":
        beat("off")
        return {}
    beat(os.urandom(16).hex())
    return {**measure(), "interruption": interruption() if spot else None}


if __name__ == "__main__":
    answer(lambda: main(*sys.argv[1:]))
