"""SQLite's faults in our words, by its result codes (https://www.sqlite.org/rescode.html)."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ciab.core.errors import CiabError, Conflict, RuntimeFault, RuntimeUnavailable, SandboxNotFound

_FAULTS: dict[str, tuple[type[CiabError], str, str]] = {
    "SQLITE_FULL": (RuntimeUnavailable, "the disk is full", "free some space; nothing was changed"),
    "SQLITE_IOERR": (RuntimeUnavailable, "the disk has a fault or is full", "look at the disk and its space"),
    "SQLITE_BUSY": (RuntimeUnavailable, "another program holds the database", "close it, or try again"),
    "SQLITE_LOCKED": (RuntimeUnavailable, "another program holds the database", "close it, or try again"),
    "SQLITE_READONLY": (RuntimeFault, "the database may not be written", "check its owner, mode and disk"),
    "SQLITE_PERM": (RuntimeFault, "the database may not be opened", "check the owner and mode of its file"),
    "SQLITE_CANTOPEN": (
        RuntimeFault,
        "the database cannot be opened",
        "check the owner and mode of its folder",
    ),
    "SQLITE_CORRUPT": (RuntimeFault, "the database is damaged", "stop the server and restore a backup"),
    "SQLITE_NOTADB": (RuntimeFault, "the file is no database", "restore a backup, or give another path"),
    "SQLITE_CONSTRAINT_FOREIGNKEY": (SandboxNotFound, "there is no such sandbox", "check the id"),
    "SQLITE_CONSTRAINT": (Conflict, "it does not fit what is already there", "read it again"),
}


@contextmanager
def translated(tried: str) -> Iterator[None]:
    """Raise SQLite's faults as ours; `tried` completes "could not ..."."""
    try:
        yield
    except PoolTimeout as exc:
        raise RuntimeUnavailable(f"could not {tried}: the database is too busy", hint="try again") from exc
    except DBAPIError as exc:
        name = str(getattr(exc.orig, "sqlite_errorname", ""))
        # an extended code ("SQLITE_IOERR_WRITE") begins with its plain one
        found = next((fault for code, fault in _FAULTS.items() if name.startswith(code)), None)
        kind, happened, cure = found or (RuntimeFault, f"the database answered: {exc.orig}", "")
        raise kind(f"could not {tried}: {happened}", hint=cure or None) from exc
