"""Sandboxes, journal, keys, launch attempts and events in one SQLite file."""

from ciab.adapters.db.database import Database, database_path, open_database
from ciab.adapters.db.lock import DatabaseLock, Holder, holder_of

__all__ = ["Database", "DatabaseLock", "Holder", "database_path", "holder_of", "open_database"]
