"""Progress on stderr: a finished line for each thing done, and on a terminal the one under way."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ciab.cli.output import plain, say

if TYPE_CHECKING:
    from rich.status import Status


class Progress:
    """Used with `with`. On a terminal the work under way spins below what is done."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._quiet:
            # Here, because only a terminal needs it and it takes long to import.
            from rich.console import Console
            from rich.status import Status

            self._status = Status("", console=Console(stderr=True, highlight=False))
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def doing(self, text: str) -> None:
        """What is under way."""
        if self._status:
            from rich.markup import escape

            self._status.update(escape(plain(text)))

    def done(self, text: str) -> None:
        """A line that stays."""
        if self._quiet:
            return
        if self._status:
            self._status.console.print(plain(text), markup=False, soft_wrap=True)
        else:
            say(plain(text))
