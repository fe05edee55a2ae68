"""What commands print: results on stdout, everything about their making on stderr.

Piped output has no colour, spinner or box, and nothing in it is shortened.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from ciab.core.errors import CiabError

if TYPE_CHECKING:
    from pydantic import BaseModel

_TERMINAL_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def plain(text: str) -> str:
    """One line without control characters: a message may come from a machine."""
    line = " / ".join(part.rstrip() for part in text.splitlines() if part.strip())
    return "".join(character if character.isprintable() else "?" for character in line)


def fail(error: CiabError, *, step: str | None = None, as_json: bool = False) -> None:
    """One line on stderr: what happened and what to do."""
    if as_json:
        body = {"code": error.code, "message": error.message, "step": step, "hint": error.hint}
        typer.echo(json.dumps({"error": body}), err=True)
        return
    where = f"{step}: " if step else ""
    hint = f"; {plain(error.hint)}" if error.hint else ""
    typer.echo(f"error: {where}{plain(error.message)}{hint}", err=True)


def say(text: str) -> None:
    """About the work, for a person: on stderr, at once."""
    typer.echo(text, err=True)


def interrupted() -> None:
    """End the line that the terminal's ^C stands on."""
    if sys.stderr.isatty():
        typer.echo(err=True)


def show_json(value: "BaseModel | Sequence[BaseModel]") -> None:
    """One JSON document."""
    if isinstance(value, Sequence):
        typer.echo(json.dumps([item.model_dump(mode="json") for item in value], indent=2))
    else:
        typer.echo(json.dumps(value.model_dump(mode="json"), indent=2))


def show_line(value: "BaseModel | Mapping[str, object]") -> None:
    """One JSON document on one line, at once: a piece of a stream."""
    data = dict(value) if isinstance(value, Mapping) else value.model_dump(mode="json")
    typer.echo(json.dumps(data))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns; the last one is as long as it is."""
    lines = [list(columns), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.echo(bold(text) if number == 0 else text)


def show_fields(fields: Mapping[str, str]) -> None:
    """Names and values, one a line."""
    width = max(len(name) for name in fields) + 1
    for name, value in fields.items():
        typer.echo(f"{bold((name + ':').ljust(width))} {plain(value)}")


def show_block(name: str, text: str) -> None:
    """A name, and below it the lines of a machine's text, indented and without its colours."""
    typer.echo(bold(f"{name}:"))
    for line in _TERMINAL_CODES.sub("", text).split("\n"):
        typer.echo(f"    {plain(line.expandtabs())}".rstrip())


def time(moment: datetime) -> str:
    """To the second, UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def dollars(amount: float | None) -> str:
    """To the cent, and what is less than a dollar to a hundredth of one; `?` where no price is known."""
    if amount is None:
        return "?"
    if 0 < amount < 0.0001:
        return "<$0.0001"
    return f"${amount:.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def bold(text: str) -> str:
    """Bold where a person looks at stdout."""
    return f"\033[1m{text}\033[0m" if _colourful() else text


def _colourful() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
