"""Command lines that carry another command: `ciab sandbox exec ID [options] -- CMD ARGS...`.

Options are ours up to the remote command, on both sides of the sandbox. The remote command begins at the
first `--` behind the sandbox, or at the first word that is no option; from there on nothing is ours.
"""

from collections.abc import Collection, Sequence
from typing import Any

from typer.core import TyperCommand


class RemoteCommand(TyperCommand):
    """A command whose first argument is a sandbox and whose others are run in it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # its type is private to Typer
        """Options first, then what is to be taken as it stands."""
        valued = {name for param in self.params if not getattr(param, "is_flag", True) for name in param.opts}
        return super().parse_args(ctx, in_order(args, valued))


def in_order(words: Sequence[str], valued: Collection[str]) -> list[str]:
    """The same line as options, `--`, sandbox, remote command. `valued`: options that take a value."""
    ours: list[str] = []
    sandbox: list[str] = []
    rest = list(words)
    while rest:
        word = rest[0]
        if word == "--":
            del rest[0]
            if sandbox:
                break
            sandbox, rest = rest[:1], rest[1:]
            break
        if word.startswith("-") and word != "-":
            size = 2 if _value_follows(word, valued) else 1
            ours, rest = ours + rest[:size], rest[size:]
        elif sandbox:
            break
        else:
            sandbox, rest = [word], rest[1:]
    return [*ours, "--", *sandbox, *rest]


def _value_follows(word: str, valued: Collection[str]) -> bool:
    """Whether the value of this option, or of the last of these short ones, is the next word."""
    if word.startswith("--"):
        return word in valued
    for place, letter in enumerate(word[1:], start=1):
        if f"-{letter}" in valued:
            return place == len(word) - 1
    return False
