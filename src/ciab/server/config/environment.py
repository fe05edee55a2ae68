"""Settings from the environment: `CIAB_SERVER__PORT=9091` is `[server] port = 9091`.

Names are taken in any case, with `_` for `-`. Names that the user chooses are derived: of a region
`EU_WEST_1` is `eu-west-1`, of a price `T3_MEDIUM` is `t3.medium`, of a tag the name stays as it is.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from ciab.server.config.keys import ANY, Key, Path, find, is_free, nearest

PREFIX = "CIAB_"
NOT_SETTINGS = frozenset({"CIAB_CONFIG", "CIAB_SERVER_URL", "CIAB_API_KEY", "CIAB_ENCRYPTION_KEY"})


@dataclass(frozen=True, slots=True)
class Assignment:
    """One key set by the environment."""

    variable: str
    path: Path
    value: object


@dataclass(frozen=True, slots=True)
class Unknown:
    """A variable that looks like a setting and is none, and the nearest that is one."""

    variable: str
    nearest: str


def assignments(environ: Mapping[str, str]) -> Iterator[Assignment | Unknown]:
    """What the environment sets, in the order of the names. Without `__` a name is no setting: it may be
    the variable that a key names, like that of the encryption key."""
    for variable in sorted(environ):
        rest = variable.upper().removeprefix(PREFIX)
        if rest == variable.upper() or "__" not in rest or variable in NOT_SETTINGS:
            continue
        given = variable[len(PREFIX) :].split("__")
        key = find(given, loosely=True)
        if key is None or not all(given):
            close = nearest([name.lower() for name in given])
            yield Unknown(variable, variable_of(close.split(".")))
        else:
            yield Assignment(variable, _path(key, given), _value(key, len(given), environ[variable]))


def variable_of(path: Sequence[str]) -> str:
    """The variable that sets this key."""
    return PREFIX + "__".join(name.upper().replace("-", "_") for name in path)


def _path(key: Key, given: Sequence[str]) -> Path:
    known = [
        name.lower().replace("_", "-") if known == ANY else known
        for known, name in zip(key.path, given, strict=False)
    ]
    return (*known, *(_entry(key, name) for name in given[len(key.path) :]))


def _entry(key: Key, name: str) -> str:
    if key.path[-1] == "prices" and "." not in name:
        return name.lower().replace("_", ".", 1).replace("_", "-")
    return name.lower() if key.path[-1] == "prices" else name


def _value(key: Key, depth: int, text: str) -> object:
    """As the field wants it; what cannot be read stays text, and the validation says what is wrong."""
    wanted = key.type
    if is_free(key) and depth > len(key.path):
        wanted = get_args(wanted)[1]
        wanted = get_args(wanted)[0] if hasattr(wanted, "__metadata__") else wanted
    if wanted in {str, SecretStr} or get_origin(wanted) is Literal:
        return text
    if wanted is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if get_origin(wanted) is list and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    return _toml(text)


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
