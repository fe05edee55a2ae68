"""Encryption keys: 32 bytes, from an environment variable or from a file only its owner may read.

A key file has one key a line. The first seals and all open, so that a rotation can put the new key beside
the old one before it touches the database, and take the old one away after it.
"""

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ciab.core.errors import ConfigError

KEY_BYTES = 32
_FORMAT = "an encryption key is 32 bytes as base64 or hex; `openssl rand -base64 32` makes one"


@dataclass(frozen=True, slots=True)
class Key:
    """A key for AES-256; it never prints."""

    material: bytes = field(repr=False)

    @classmethod
    def fresh(cls) -> "Key":
        """A new random key."""
        return cls(secrets.token_bytes(KEY_BYTES))


@dataclass(frozen=True, slots=True)
class LoadedKeys:
    """The keys in use, where they came from, and whether they were made just now."""

    keys: tuple[Key, ...]
    source: str
    from_env: bool
    made: bool = False


def load_keys(env_name: str, key_file: Path, environ: Mapping[str, str], *, may_make: bool) -> LoadedKeys:
    """The key in `$env_name`, else those in `key_file`, else, with `may_make`, a new one written there.

    Raises ConfigError for a malformed key, a file that others may read, and when there is no key at all.
    """
    if text := environ.get(env_name, "").strip():
        return LoadedKeys((parse_key(text, f"${env_name}"),), f"${env_name}", from_env=True)
    if not key_file.exists():
        if not may_make:
            raise ConfigError(
                f"no encryption key: ${env_name} is not set and {key_file} does not exist, "
                "but there is a database, whose secrets only its key opens",
                hint=f"set ${env_name} or put the key file back",
            )
        if _make_key_file(key_file):
            return LoadedKeys(read_key_file(key_file), str(key_file), from_env=False, made=True)
    return LoadedKeys(read_key_file(key_file), str(key_file), from_env=False)


def parse_key(text: str, source: str) -> Key:
    """The key in `text`. Raises ConfigError naming `source`, never the text."""
    text = text.strip()
    try:
        if len(text) == 2 * KEY_BYTES:
            material = bytes.fromhex(text)
        else:
            standard = text.replace("-", "+").replace("_", "/").rstrip("=")
            material = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (ValueError, binascii.Error) as exc:
        raise ConfigError(f"{source} is no encryption key: neither base64 nor hex", hint=_FORMAT) from exc
    if len(material) != KEY_BYTES:
        raise ConfigError(f"{source} is no encryption key: {len(material)} bytes", hint=_FORMAT)
    return Key(material)


def read_key_file(path: Path) -> tuple[Key, ...]:
    """The keys in a file, one a line. Raises ConfigError when others may read it or it holds no key."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the key file {path} cannot be read: {exc}", hint=_FORMAT) from exc
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"the key file {path} may be read by other users (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}",
        )
    if not lines:
        raise ConfigError(f"the key file {path} is empty", hint="put the database's key back")
    return tuple(parse_key(line, f"the key file {path}") for line in lines)


def replace_key_file(path: Path, *keys: Key) -> None:
    """Write these keys in one move: at any instant the file holds all the old ones or all the new ones.

    The caller holds the database's lock. What a writer that was cut off left beside the file is removed.
    """
    with _writing(path):
        beside = _write_beside(path, keys)
        beside.replace(path)
        for left in path.parent.glob(f".{path.name}.*"):
            left.unlink()
        _sync_folder(path.parent)


def _make_key_file(path: Path) -> bool:
    """Whether a new key was written; not, when another process was first."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = _write_beside(path, (Key.fresh(),))
        try:
            # unlike a rename, a link refuses to replace a file; and it is never half written
            path.hardlink_to(beside)
        except FileExistsError:
            return False
        finally:
            beside.unlink()
        _sync_folder(path.parent)
    return True


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ConfigError(
            f"the key file {path} cannot be written: {exc.strerror}",
            hint="check the folder's owner, mode and space",
        ) from exc


def _write_beside(path: Path, keys: tuple[Key, ...]) -> Path:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(base64.b64encode(key.material) + b"\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
