"""What a server keeps: the encryption key and the database. Neither is made here."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ciab.adapters.db import holder_of
from ciab.adapters.db.looking import look_at
from ciab.adapters.vault import AesGcmVault, load_keys
from ciab.adapters.vault.key import LoadedKeys
from ciab.core.errors import ConfigError
from ciab.core.finding import Finding
from ciab.server.settings import Settings

_KEY, _DATABASE = "encryption key", "database"


async def kept(settings: Settings, environ: Mapping[str, str]) -> Sequence[Finding]:
    """Whether a server that starts now finds a key and opens the database with it."""
    return await asyncio.to_thread(_kept, settings, environ)


def _kept(settings: Settings, environ: Mapping[str, str]) -> Sequence[Finding]:
    key, loaded = _key(settings, environ)
    return [key, _database(settings.database.path, key, loaded)]


def _key(settings: Settings, environ: Mapping[str, str]) -> tuple[Finding, LoadedKeys | None]:
    variable, file = settings.credentials.encryption_key_env, settings.database.key_file
    tried = f"${variable}, then {file}"
    if not environ.get(variable, "").strip() and not file.exists() and not settings.database.path.exists():
        return Finding(_KEY, "ok", tried, f"there is none; the first start makes {file}"), None
    try:
        loaded = load_keys(variable, file, environ, may_make=False)
    except ConfigError as error:
        return Finding(_KEY, "error", tried, error.message, error.hint), None
    return Finding(_KEY, "ok", tried, f"the key in {loaded.source} can be used"), loaded


def _database(path: Path, key: Finding, loaded: LoadedKeys | None) -> Finding:
    try:
        return _opened(path, key, loaded)
    except ConfigError as error:
        return Finding(_DATABASE, "error", str(path), error.message, error.hint)
    except OSError as error:
        told, hint = f"it cannot be looked at: {error.strerror}", "check the owner and mode of the folder"
        return Finding(_DATABASE, "error", str(path), told, hint)


def _opened(path: Path, key: Finding, loaded: LoadedKeys | None) -> Finding:
    if holder := holder_of(path):
        return Finding(_DATABASE, "ok", str(path), f"a server has it open, process {holder.pid}")
    _check_writable(path)
    if not path.exists():
        return Finding(_DATABASE, "ok", str(path), "there is none; the first start makes it")
    if loaded is None:
        return Finding(_DATABASE, "skipped", str(path), f"it depends on: {key.check}")
    looked = look_at(path, AesGcmVault(*loaded.keys))
    more = f"; its schema is an older one ({looked.version}), which the next start brings up to date"
    return Finding(_DATABASE, "ok", str(path), f"it opens with the key{more if looked.older else ''}")


def _check_writable(path: Path) -> None:
    """Raises ConfigError where a server could not write. SQLite makes files of its own beside a database."""
    folder = next(parent for parent in path.parents if parent.exists())
    hint = "check owner and mode, or change [database] url"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(f"{path} cannot be read and written", hint=hint)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"nothing can be written in {folder}", hint=hint)
