"""Every benchmark, each in a process of its own: `python -m benchmarks [NAME...]`."""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

NAMES = ("exec", "ready", "fanout", "files", "footprint")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all of them")
    names = parser.parse_args().names or NAMES
    print(_computer(), flush=True)
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
        print(f"   ({time.monotonic() - began:.0f} s)", flush=True)
    if failed:
        print(f"\nnot measured, see above why: {', '.join(failed)}")
    return 1 if failed else 0


def _computer() -> str:
    """What the figures were taken on."""
    cpu = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "name" in line
    ]
    load = "/".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        f"{len(os.sched_getaffinity(0))} CPUs ({cpu[0] if cpu else platform.machine()}), "
        f"Linux {platform.release()}, Python {platform.python_version()}, load average {load}"
    )


if __name__ == "__main__":
    sys.exit(main())
