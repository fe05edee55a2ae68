"""A text that must not be seen: it prints as `***` and gives itself up only when asked."""

from dataclasses import dataclass, field

MASK = "***"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Compares and hashes by its text; `str` and `repr` show the mask."""

    _text: str = field()

    def reveal(self) -> str:
        """The text itself. Call this at the last moment, where it is encrypted or sent."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__
