"""Options of the form K=V."""

import os
from collections.abc import Sequence
from pathlib import Path

import typer


def labels(given: Sequence[str]) -> dict[str, str]:
    """`k=v` each. A usage error for anything else."""
    pairs = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--label")
        pairs[key] = value
    return pairs


def variables(given: Sequence[str], env_file: Path | None = None) -> dict[str, str]:
    """`K=V`, or `K` for its value in our own environment; those given singly win over the file's."""
    return _from_file(env_file) | dict(_variable(text) for text in given)


def _variable(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if sign and name:
        return name, value
    if not name or name not in os.environ:
        # Without the text itself: it may be a secret whose name was forgotten.
        raise typer.BadParameter(
            "give NAME=VALUE, or the NAME of a variable that is set here", param_hint="-e"
        )
    return name, os.environ[name]


def _from_file(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {path}: {error}", param_hint="--env-file") from None
    pairs = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"line {number} of {path} is not NAME=VALUE", param_hint="--env-file")
        pairs[name] = value
    return pairs
