"""Sealing everything in a database anew, under another key, in one transaction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, select, update

from ciab.adapters.db.engine import sync_engine, truncate_log
from ciab.adapters.db.errors import translated
from ciab.adapters.db.prepare import KEY_CHECK, seal_key_check
from ciab.adapters.db.rows import request_column
from ciab.adapters.db.tables import attempts, keys, meta, sandboxes
from ciab.core.ports import Vault

SEALED: tuple[tuple[Table, Column[Any], Callable[[Row[Any]], tuple[str, str]]], ...] = (
    (sandboxes, sandboxes.c.spec, lambda row: (row.id, "spec")),
    (keys, keys.c.pairs, lambda row: (row.sandbox_id, "keys")),
    (attempts, attempts.c.request, lambda row: (row.sandbox_id, request_column(row.number))),
)
"""Every sealed column but the key check, and what each of its texts is bound to."""


def reseal(path: Path, old: Vault, new: Vault) -> int:
    """Open everything with `old` and seal it with `new`; gives the number of texts. Blocks: use a thread.

    The caller holds the lock and has prepared the database. Afterwards nothing sealed with the old key is in
    the file or its log. Raises RuntimeUnavailable when only emptying the log was held up.
    """
    engine = sync_engine(path)
    try:
        with translated("seal the database with the new key"):
            with engine.connect() as connection:
                connection.execution_options(begin="BEGIN IMMEDIATE")
                with connection.begin():
                    count = _reseal(connection, old, new)
            with engine.connect() as connection:
                truncate_log(connection)
        return count
    finally:
        engine.dispose()


def _reseal(connection: Connection, old: Vault, new: Vault) -> int:
    count = 0
    for table, column, binding in SEALED:
        for row in connection.execute(select(table).where(column.is_not(None))).all():
            own = [name == getattr(row, name.name) for name in table.primary_key.columns]
            text = old.open(getattr(row, column.name), *binding(row))
            connection.execute(update(table).where(*own).values({column: new.seal(text, *binding(row))}))
            count += 1
    owner = connection.execute(select(meta.c.value).where(meta.c.key == "owner")).scalar_one().decode()
    check = update(meta).where(meta.c.key == KEY_CHECK)
    connection.execute(check.values(value=seal_key_check(new, owner)))
    return count
