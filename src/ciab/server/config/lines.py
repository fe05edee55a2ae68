"""In which line of a TOML text a key stands: what tells a person where to look."""

import re
import tomllib
from typing import Any

_HEADER = re.compile(r"^\s*\[\[?(.+?)\]\]?\s*(#.*)?$")

Lines = dict[tuple[str, ...], int]


def lines_of(text: str) -> Lines:
    """Line numbers from 1 by path, of tables and keys. The text is known to be valid TOML."""
    found: Lines = {}
    table: tuple[str, ...] = ()
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
        elif header := _HEADER.match(lines[at]):
            table = _names(tomllib.loads(f"{header[1]} = 0"))[-1]
            found[table] = at + 1
            at += 1
        else:
            end, value = _statement(lines, at)
            for path in _names(value):
                found.setdefault((*table, *path), at + 1)
            at = end
    return found


def _statement(lines: list[str], at: int) -> tuple[int, dict[str, Any]]:
    """The assignment that begins in this line, however many it takes, and the line after it."""
    for end in range(at + 1, len(lines) + 1):
        try:
            return end, tomllib.loads("\n".join(lines[at:end]))
        except tomllib.TOMLDecodeError:
            continue
    return len(lines), {}


def _names(value: dict[str, Any]) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for name, inner in value.items():
        paths.append((name,))
        if isinstance(inner, dict):
            paths += [(name, *path) for path in _names(inner)]
    return paths
