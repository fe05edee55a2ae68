"""What is wrong with a configuration, a line each: where, which key, what, and what was perhaps meant."""

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from ciab.server.config.keys import Path, dotted, nearest

_PLAIN = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be a text in quotes",
    "list_type": "must be a list in brackets",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "string_too_short": "must not be empty",
}
_WITH_LIMIT = {
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "string_too_long": "must have {max_length} characters at most",
    "string_pattern_mismatch": "does not have the right form, which is {pattern}",
}


def problems_of(error: ValidationError, source_of: Callable[[Path], str]) -> Iterator[str]:
    """One line for each fault; never the value itself, it may be a secret."""
    for fault in error.errors(include_url=False, include_input=False):
        path = tuple(str(part) for part in fault["loc"] if part != "[key]")
        where = f"{source_of(path)}: " if source_of(path) else ""
        key = f"{_shown(fault['loc'])}: " if path else ""
        yield f"{where}{key}{_what(fault['type'], fault['msg'], fault.get('ctx', {}), path)}"


def unknown_key(path: Path) -> str:
    """What to say about a key that does not exist."""
    return f"there is no such key; the nearest valid key is {nearest(path)}"


def _what(kind: str, message: str, context: dict[str, Any], path: Path) -> str:
    if kind == "extra_forbidden":
        return unknown_key(path)
    if kind == "value_error":
        return str(context["error"])
    if kind in _WITH_LIMIT:
        return _WITH_LIMIT[kind].format(**context)
    return _PLAIN.get(kind, message)


def _shown(location: tuple[int | str, ...]) -> str:
    """`server.public_hosts[0]`"""
    names = [part for part in location if isinstance(part, str) and part != "[key]"]
    places = "".join(f"[{part}]" for part in location if isinstance(part, int))
    return dotted(names) + places
