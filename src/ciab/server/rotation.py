"""A new encryption key for a database that no server has open."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ciab.adapters.db import DatabaseLock
from ciab.adapters.db.prepare import prepare
from ciab.adapters.db.reseal import reseal
from ciab.adapters.vault import AesGcmVault, Key, load_keys, replace_key_file
from ciab.core.errors import ConfigError
from ciab.server.settings import Settings


@dataclass(frozen=True, slots=True)
class Rotated:
    """How many texts were sealed anew, and where the key is; `by_hand`: somebody must put it there."""

    count: int
    key_in: str
    by_hand: bool


async def rotate_key(settings: Settings, environ: Mapping[str, str], new: Key | None = None) -> Rotated:
    """Seal everything anew, with `new` or a key made now. Whenever this is cut off, the keys in place open
    the database: the key file holds both keys until everything is sealed with the new one.

    Raises ConfigError when a server has the database, when there is none, or when the key comes from the
    environment and none is given to follow it.
    """
    return await asyncio.to_thread(_rotate, settings, environ, new)


def _rotate(settings: Settings, environ: Mapping[str, str], new: Key | None) -> Rotated:
    path = settings.database.path
    if not path.exists():
        raise ConfigError(f"there is no database at {path}: nothing to rotate", hint="check [database] url")
    lock = DatabaseLock.acquire(path)
    try:
        return _rotate_locked(settings, path, environ, new)
    finally:
        lock.release()


def _rotate_locked(settings: Settings, path: Path, environ: Mapping[str, str], new: Key | None) -> Rotated:
    variable, key_file = settings.credentials.encryption_key_env, settings.database.key_file
    loaded = load_keys(variable, key_file, environ, may_make=False)
    if loaded.from_env and new is None:
        raise ConfigError(
            f"the key comes from ${variable}, so the new one must come from you too",
            hint="give --new-key-file or --new-key-env",
        )
    old = AesGcmVault(*loaded.keys)
    prepare(path, old)
    following = new or Key.fresh()
    if not loaded.from_env:
        replace_key_file(key_file, following, *loaded.keys)
    count = reseal(path, old, AesGcmVault(following))
    if not loaded.from_env:
        replace_key_file(key_file, following)
    return Rotated(count, loaded.source, by_hand=loaded.from_env)
