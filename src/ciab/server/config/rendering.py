"""The models as text: a commented `config.toml`, and the reference in the documentation."""

import json
from collections.abc import Iterator
from inspect import cleandoc
from textwrap import wrap
from typing import Any

from pydantic_core import PydanticUndefined

from ciab.server.config.environment import variable_of
from ciab.server.config.keys import ANY, Key, Path, dotted, is_free, keys_of, sections

_EXAMPLES = {
    "runtime.ec2.tags": 'Team = "platform"',
    "runtime.ec2.prices": '"t3.medium" = 0.0416',
}
_EXAMPLE_REGION = "eu-west-1"

_HEAD = """\
# The configuration of CIAB. Every key stands here with its default, as a comment: remove the # to change it.
# Each can also be set by environment: [server] port by CIAB_SERVER__PORT.
# `ciab config validate` checks this file, `ciab config show` says what counts and where it comes from.
"""


def config_file() -> str:
    """A `config.toml` that changes nothing until a line of it is uncommented."""
    parts = [_HEAD]
    for path, section in sections():
        keys = list(keys_of(path, section))
        if not keys:
            continue
        mark = "# " if ANY in path else ""
        lines = [f"{mark}[{dotted(_example(path))}]"]
        lines += [line for key in keys if not is_free(key) for line in _commented(key)]
        for key in (key for key in keys if is_free(key)):
            lines += ["", *_comment(key), f"# [{dotted(key.path)}]", f"# {_EXAMPLES[dotted(key.path)]}"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def reference() -> str:
    """The tables of `docs/configuration.md`."""
    parts: list[str] = []
    for path, section in sections():
        keys = list(keys_of(path, section))
        if not keys:
            continue
        parts += [f"### `[{dotted(_example(path))}]`", "", cleandoc(section.__doc__ or ""), ""]
        parts += ["| key | default | what it does |", "|---|---|---|"]
        parts += [f"| `{key.path[-1]}` | {_shown(key)} | {_description(key)} |" for key in keys]
        parts += ["", f"By environment: `{variable_of(_example(keys[0].path))}` and so on.", ""]
    return "\n".join(parts).rstrip() + "\n"


def toml(value: object) -> str:
    """A value as TOML has it."""
    if isinstance(value, list):
        return f"[{', '.join(toml(each) for each in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {toml(each)}' for key, each in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def default_of(key: Key) -> Any:
    """What counts when the key is not set, before paths are expanded."""
    value = key.field.get_default(call_default_factory=True, validated_data={})
    return "" if value is PydanticUndefined else value


def _commented(key: Key) -> Iterator[str]:
    yield ""
    yield from _comment(key)
    yield f"# {key.path[-1]} = {toml(default_of(key))}"


def _comment(key: Key) -> list[str]:
    return [f"## {line}" for line in wrap(_description(key), 100)]


def _description(key: Key) -> str:
    return key.field.description or ""


def _shown(key: Key) -> str:
    return "(none)" if is_free(key) else f"`{toml(default_of(key))}`"


def _example(path: Path) -> Path:
    return tuple(_EXAMPLE_REGION if name == ANY else name for name in path)
