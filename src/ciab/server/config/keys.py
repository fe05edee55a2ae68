"""The keys of `config.toml`, as the settings' models have them."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ciab.server.settings import Settings

Path = tuple[str, ...]

ANY = "*"
"""Stands in a path for a name that the user chooses: a region, a tag."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its path of names as in the file, and what the model says about it."""

    path: Path
    field: FieldInfo
    type: Any


def sections() -> Iterator[tuple[Path, type[BaseModel]]]:
    """Every table of the file that has keys of its own, in order."""
    return _sections((), Settings)


def keys_of(path: Path, section: type[BaseModel]) -> Iterator[Key]:
    """The keys that stand directly in a table; tables inside it are no keys, free tables (tags) are."""
    for name, field in section.model_fields.items():
        if _model(field.annotation) is None:
            yield Key((*path, field.alias or name), field, field.annotation)


def all_keys() -> list[Key]:
    """Every key there is."""
    return [key for path, section in sections() for key in keys_of(path, section)]


def find(path: Sequence[str], *, loosely: bool = False) -> Key | None:
    """The key with this path; an entry of a free table has that table's. `loosely`: any case, `_` for `-`."""
    for key in all_keys():
        same = [_same(known, given, loosely) for known, given in zip(key.path, path, strict=False)]
        if all(same) and (len(path) == len(key.path) or (is_free(key) and len(path) == len(key.path) + 1)):
            return key
    return None


def is_free(key: Key) -> bool:
    """Whether the key is a table whose names are the user's: tags, prices."""
    return get_origin(key.type) is dict


def nearest(path: Sequence[str]) -> str:
    """The dotted valid key, or table, that looks most like this one."""
    given = ".".join(path)
    if len(path) == 1:
        return difflib.get_close_matches(given, Settings.model_fields, n=1, cutoff=0.0)[0]
    known = [dotted(_with_names_of(path, key.path)) for key in all_keys()]
    same_table = [key for key in known if key.rpartition(".")[0] == given.rpartition(".")[0]]
    same_leaf = [key for key in known if key.rpartition(".")[2] == given.rpartition(".")[2]]
    for candidates, cutoff in ((same_table, 0.75), (same_leaf, 0.0), (known, 0.0)):
        if close := difflib.get_close_matches(given, candidates, n=1, cutoff=cutoff):
            return close[0]
    return known[0]


def dotted(path: Sequence[str]) -> str:
    """A path as people write it; what needs quotes in TOML gets them."""
    return ".".join(f'"{name}"' if "." in name else name for name in path)


def _sections(path: Path, section: type[BaseModel]) -> Iterator[tuple[Path, type[BaseModel]]]:
    if path:
        yield path, section
    for name, field in section.model_fields.items():
        own = (*path, field.alias or name)
        if model := _model(field.annotation):
            yield from _sections((*own, ANY) if get_origin(field.annotation) is dict else own, model)


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model of a table, or of the entries of a table of tables."""
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _with_names_of(given: Sequence[str], known: Path) -> Path:
    """The known path with the user's own names in it, as far as they were given."""
    return tuple(
        given[place] if name == ANY and place < len(given) else name for place, name in enumerate(known)
    )


def _same(known: str, given: str, loosely: bool) -> bool:
    if known == ANY:
        return True
    return known.replace("-", "_") == given.lower().replace("-", "_") if loosely else known == given
