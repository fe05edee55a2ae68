"""Fail when a Python file is longer than a reader can hold in mind; name those that come near it."""

import sys
from pathlib import Path

SMELL = 300
LIMIT = 400
FOLDERS = ("src", "tests", "scripts", "benchmarks")


def main() -> int:
    """The exit code: 1 when a file is over the limit."""
    root = Path(__file__).parent.parent
    sizes = {
        path.relative_to(root): len(path.read_text("utf-8").splitlines())
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
    }
    for path, lines in sizes.items():
        if lines > SMELL:
            word = "too long" if lines > LIMIT else "long"
            sys.stdout.write(f"{path}: {lines} lines, {word}: split it (the limit is {LIMIT})\n")
    return int(any(lines > LIMIT for lines in sizes.values()))


if __name__ == "__main__":
    sys.exit(main())
