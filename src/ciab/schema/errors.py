"""The error body, and the way back from it to the error that was raised."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ciab.core.errors import CiabError
from ciab.schema.values import as_text

_LONGEST_FIELD = 120
_NO_FIELDS = ("body", "query", "path", "header", "[key]")
_WORDS: Mapping[str, str] = {
    "model_attributes_type": "it should be an object",
    "model_type": "it should be an object",
    "dict_type": "it should be an object",
    "recursion_depth_exceeded": "it is nested too deeply",
    "missing": "it is required",
}
"""Pydantic's own words for these are for Python programmers."""


class ErrorInfo(BaseModel):
    """`code` is for programs and never changes; `message` says what happened, `hint` what to do."""

    code: str
    message: str
    step: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, error: CiabError, step: str | None = None) -> "ErrorInfo":
        """How an error looks on the wire."""
        hint = error.hint and as_text(error.hint)
        return cls(code=error.code, message=as_text(error.message), step=step, hint=hint)

    def raised(self) -> CiabError:
        """The error again, of the class that has this code; a plain CiabError when none has."""
        return _CLASSES.get(self.code, CiabError)(self.message, hint=self.hint)


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorInfo


def explain(errors: Sequence[Mapping[str, Any]], known: Sequence[str] = ()) -> tuple[str, str | None]:
    """A sentence and a hint for what Pydantic found wrong. Values that were sent are never repeated.

    `known`: names of fields, to guess which one an unknown field was meant to be.
    """
    # a field that is misspelt is missing, too: what it was meant to be helps more
    first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    field = _field(first["loc"])
    own_words = str(first["msg"]).startswith("Value error, ")
    text = _WORDS.get(first["type"], str(first["msg"]).removeprefix("Value error, "))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field.rpartition(".")[2], known, n=1)
        return f"unknown field {field}{more}", f"did you mean {near[0]}?" if near else None
    if first["type"] == "json_invalid":
        return f"the body is not JSON: something is wrong at character {first['loc'][-1]}", None
    if not field and own_words:
        return f"{text}{more}", None
    return f"{field or 'the body'}: {text}{more}", None


def _field(location: Sequence[object]) -> str:
    field = ".".join(str(part) for part in location if part not in _NO_FIELDS)
    if len(field) > _LONGEST_FIELD:
        field = f"{field[:_LONGEST_FIELD]}..."
    return field if field.isprintable() else ascii(field)


def _all_classes(root: type[CiabError]) -> Iterator[type[CiabError]]:
    yield root
    for child in root.__subclasses__():
        yield from _all_classes(child)


_CLASSES: Mapping[str, type[CiabError]] = {
    kind.code: kind
    for kind in reversed(list(_all_classes(CiabError)))
    if kind.__module__ == CiabError.__module__ and kind.__init__ is CiabError.__init__
}
