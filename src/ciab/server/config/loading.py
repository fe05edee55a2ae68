"""From file, environment and command line to settings that can be used, and where each value came from."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from pydantic import SecretStr, ValidationError

from ciab.core.errors import ConfigError
from ciab.core.secret import MASK
from ciab.server.config.environment import Unknown, assignments
from ciab.server.config.keys import Path
from ciab.server.config.lines import Lines, lines_of
from ciab.server.config.problems import problems_of
from ciab.server.settings import Settings

DEFAULT = "default"
COMMAND_LINE = "command line"
_USER_FILE = "~/.config/ciab/config.toml"
_SQLITE = "sqlite:///"
_PATHS = (
    ("database", "url"),
    ("packer", "work_dir"),
    ("packer", "binary_path"),
    ("packer", "template_source"),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, the file they were read from (None: no file), and the source of each key that was set."""

    settings: Settings
    file: FilePath | None
    sources: Mapping[Path, str] = field(default_factory=dict)

    def effective(self) -> Iterator[tuple[Path, object, str]]:
        """Every key with its value, secrets masked, and its source."""
        for path, value in _leaves(self.settings.model_dump(by_alias=True)):
            source = self.sources.get(path, DEFAULT)
            if path == ("runtime", "ec2", "ssh_port") and source == DEFAULT:
                backend = self.settings.runtime.backend
                yield path, self.settings.runtime.ssh_port, f'{DEFAULT} for backend = "{backend}"'
            else:
                yield path, _masked(value), source


def load(
    file: FilePath | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[Path, object] | None = None,
) -> Loaded:
    """The configuration: defaults, under the file, under the environment, under the command line.

    Raises ConfigError with a line for each problem, naming file and line (or variable), key and remedy.
    """
    environ = os.environ if environ is None else environ
    found = find_file(file, environ)
    draft = _Draft()
    if found:
        draft.read(found)
    draft.overlay(environ)
    for path, value in (overrides or {}).items():
        draft.put(path, value, COMMAND_LINE)
    try:
        settings = Settings.model_validate(draft.data, strict=True)
    except ValidationError as exc:
        draft.problems += problems_of(exc, draft.source_of)
    if draft.problems:
        raise ConfigError("\n".join(draft.problems), hint="`ciab config show` says where values come from")
    return Loaded(settings, found, draft.sources)


def find_file(file: FilePath | None, environ: Mapping[str, str]) -> FilePath | None:
    """The file that counts. Raises ConfigError when one that was asked for is not there."""
    for asked, by in ((file, "--config"), (environ.get("CIAB_CONFIG"), "$CIAB_CONFIG")):
        if asked:
            path = FilePath(asked).expanduser()
            if not path.is_file():
                raise ConfigError(f"{path}: no such file ({by})", hint="`ciab config init` writes one")
            return path
    for path in (FilePath("config.toml"), FilePath(_USER_FILE).expanduser()):
        if path.is_file():
            return path
    return None


class _Draft:
    """What was collected so far, and where each leaf of it came from."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.sources: dict[Path, str] = {}
        self.problems: list[str] = []
        self._file: FilePath | None = None
        self._lines: Lines = {}

    def read(self, file: FilePath) -> None:
        try:
            text = file.read_text(encoding="utf-8")
            self.data = tomllib.loads(text)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
            raise ConfigError(f"{file}: cannot be read: {exc}", hint="`ciab config init` writes one") from exc
        self._file = file
        self._lines = lines_of(text)
        for path, value in _leaves(self.data):
            self.put(path, value, f"{file}:{_longest(self._lines, path)}", file.absolute().parent)

    def overlay(self, environ: Mapping[str, str]) -> None:
        for found in assignments(environ):
            if isinstance(found, Unknown):
                self.problems.append(
                    f"${found.variable}: there is no such setting; the nearest valid one is {found.nearest}"
                )
            else:
                self.put(found.path, found.value, f"${found.variable}")

    def put(self, path: Path, value: object, source: str, base: FilePath | None = None) -> None:
        table = self.data
        for name in path[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                return  # the file has a value where a table belongs: the validation says so
        table[path[-1]] = _from(base or FilePath.cwd(), path, value)
        for inner, _ in _leaves(value) if isinstance(value, dict) else ():
            self.sources[(*path, *inner)] = source
        self.sources[path] = source

    def source_of(self, path: Path) -> str:
        """Of a key its own source; of a table, or what is in a list, the nearest thing around it."""
        for end in range(len(path), 0, -1):
            if source := self.sources.get(path[:end]):
                return source
            if line := self._lines.get(path[:end]):
                return f"{self._file}:{line}"
        return str(self._file or "")


def _from(base: FilePath, path: Path, value: object) -> object:
    """A relative path made absolute: against the file it stands in, or the working folder."""
    if path not in _PATHS or not isinstance(value, str) or not value:
        return value
    prefix = _SQLITE if value.startswith(_SQLITE) else ""
    plain = value.removeprefix(prefix)
    found_by_name = path == ("packer", "binary_path") and "/" not in plain
    if found_by_name or "::" in plain or "://" in plain or plain.startswith("~"):
        return value
    return prefix + str(base / plain)


def _leaves(table: Mapping[str, Any], before: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*before, name))
        else:
            yield (*before, name), value


def _longest(lines: Lines, path: Path) -> int:
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 1)


def _masked(value: object) -> object:
    if isinstance(value, list):
        return [_masked(each) for each in value]
    return MASK if isinstance(value, SecretStr) else value
