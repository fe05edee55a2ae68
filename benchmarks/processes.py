"""What a process has taken: its memory, as Linux counts it."""

from pathlib import Path


def peak_mib(pid: int | str = "self") -> float:
    """The most it ever had in memory at once."""
    return _kib(Path(f"/proc/{pid}/status"), "VmHWM") / 1024


def memory_mib(pid: int) -> float:
    """What it has in memory now; pages that it shares with others count in part (PSS)."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss") / 1024


def _kib(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise ValueError(f"no {name} in {file}")
