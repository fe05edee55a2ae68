"""Values with a rule of their own. A value that breaks it is refused in words for a person.

No rule's message repeats the value itself: it may be a secret.
"""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    WithJsonSchema,
)

from ciab.core.secret import MASK

STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)
"""Of every model: unknown fields are refused, and errors never show what was sent."""

REVEAL = {"reveal": True}
"""The serialization context in which secrets are written out: for the client's requests alone."""

MAX_ENV_VALUE = 128 * 1024 - 1
"""Linux passes no longer string to a program (MAX_ARG_STRLEN, the name included)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORD = re.compile(r"[A-Za-z0-9._:/-]{1,255}\Z")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]+\Z")
_COMMIT = re.compile(r"[0-9a-fA-F]{7,64}\Z")
_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z")
_GIT_SCHEMES = ("https", "http", "ssh")
_SCP_LIKE = re.compile(r"git@[A-Za-z0-9][A-Za-z0-9.-]*:[^\s:-][^\s]*\Z")


def as_text(text: str) -> str:
    """Fit for UTF-8: bytes of a machine's file name that are not are U+FFFD."""
    return _HALF_A_CHARACTER.sub("\ufffd", text)


def printable(text: str) -> str:
    """No NUL, newline or other control character."""
    if not text.isprintable():
        raise ValueError("control characters are not allowed")
    return text


def _for_programs(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character is not allowed")
    if _HALF_A_CHARACTER.search(text):  # JSON can write them, UTF-8 cannot: nobody could read them back
        raise ValueError("it has characters that UTF-8 cannot carry")
    return text


def _name(text: str) -> str:
    if not _NAME.match(text):
        raise ValueError(
            "a name has 1 to 63 characters: letters, digits, '.', '_' and '-', the first a letter or digit"
        )
    return text


def _env_name(text: str) -> str:
    if not _ENV_NAME.match(text):
        raise ValueError(
            "the name of an environment variable has letters, digits and '_', and no digit first"
        )
    return text


def _env_value(value: SecretStr) -> SecretStr:
    text = _for_programs(value.get_secret_value())
    if len(text.encode()) > MAX_ENV_VALUE:
        raise ValueError(f"an environment variable's value has at most {MAX_ENV_VALUE} bytes")
    return value


def _label_key(text: str) -> str:
    if not _LABEL_KEY.match(text):
        raise ValueError(
            "a label's key has 1 to 63 letters, digits, '.', '_', '-' and '/', the first a letter or digit"
        )
    return text


def _label_value(text: str) -> str:
    if len(text) > 256 or "," in text or not text.isprintable():
        raise ValueError("a label's value has at most 256 characters, no comma and no control characters")
    return text


def _path(text: str) -> str:
    if not text or len(text.encode("utf-8", "surrogatepass")) > 4096:
        raise ValueError("a path has 1 to 4096 bytes")
    return printable(text)


def _inside(text: str) -> str:
    path = _path(text)
    if not path.startswith(("/", "~/")) and ".." in path.split("/"):
        raise ValueError("a relative path stays below the workspace: '..' is not allowed")
    return path


def _word(text: str) -> str:
    if not _WORD.match(text):
        raise ValueError("an identifier has 1 to 255 letters, digits, '.', '_', ':', '/' and '-'")
    return text


def _region(text: str) -> str:
    if not _REGION.match(text):
        raise ValueError("a region has a name like eu-west-1")
    return text


def _commit(text: str) -> str:
    if not _COMMIT.match(text):
        raise ValueError("a commit is given by 7 to 64 hexadecimal digits")
    return text


def _git_word(text: str) -> str:
    if not text or text.startswith("-") or " " in text or not text.isprintable():
        raise ValueError("a git reference or path is not empty, has no spaces and does not begin with '-'")
    return text


def _git_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isprintable() or " " in text:
        raise ValueError("a git URL has no spaces or control characters")
    if _SCP_LIKE.match(text):
        return value
    parts = _split(text)
    if parts is None or parts.scheme not in _GIT_SCHEMES or not parts.path.strip("/"):
        raise ValueError("a git URL begins with https://, http://, ssh:// or git@, and names host and path")
    if not parts.hostname or parts.hostname.startswith("-") or (parts.username or "").startswith("-"):
        raise ValueError("a git URL names a host, and neither host nor user begins with '-'")
    return value


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is no number shows only here
    except ValueError:
        return None
    return parts


def masked_url(url: str) -> str:
    """The URL without what may be secret in it: a password, a token in the user's place, a query."""
    parts = _split(url)
    if parts is None or not parts.scheme:
        return url
    user, at, host = parts.netloc.rpartition("@")
    if at:
        user = _masked_user(user) if parts.scheme == "ssh" else MASK
    return urlunsplit((parts.scheme, user + at + host, parts.path, MASK if parts.query else "", ""))


def _masked_user(user: str) -> str:
    name, colon, _ = user.partition(":")
    return name + colon + (MASK if colon else "")


def _shown(value: SecretStr, info: SerializationInfo) -> str:
    return value.get_secret_value() if _reveals(info) else MASK


def _shown_url(value: SecretStr, info: SerializationInfo) -> str:
    text = value.get_secret_value()
    return text if _reveals(info) else masked_url(text)


def _reveals(info: SerializationInfo) -> bool:
    return bool(info.context and info.context.get("reveal"))


_TEXT_IN_JSON = WithJsonSchema({"type": "string"})

Name = Annotated[str, AfterValidator(_name)]
Printable = Annotated[str, AfterValidator(printable)]
EnvName = Annotated[str, AfterValidator(_env_name)]
LabelKey = Annotated[str, AfterValidator(_label_key)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
Argument = Annotated[str, AfterValidator(_for_programs)]
Path = Annotated[str, AfterValidator(_path)]
"""Absolute, `~/...` or relative, without control characters."""
InsidePath = Annotated[str, AfterValidator(_inside)]
"""A path that stays below the workspace when it is relative."""
Word = Annotated[str, AfterValidator(_word)]
"""An identifier of the provider's; whether it exists is the provider's to say."""
Region = Annotated[str, AfterValidator(_region)]
Commit = Annotated[str, AfterValidator(_commit)]
GitWord = Annotated[str, AfterValidator(_git_word)]
"""A branch, tag or path that git cannot take for an option."""

SecretText = Annotated[SecretStr, PlainSerializer(_shown, return_type=str), _TEXT_IN_JSON]
"""Shown as `***`; written out only in the context REVEAL."""
EnvValue = Annotated[SecretText, AfterValidator(_env_value)]
GitUrl = Annotated[
    SecretStr, AfterValidator(_git_url), PlainSerializer(_shown_url, return_type=str), _TEXT_IN_JSON
]
