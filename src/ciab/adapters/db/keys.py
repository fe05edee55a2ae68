"""Key pairs of sandboxes: sealed, and gone without a trace when they are discarded."""

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.engine import Sql
from ciab.adapters.db.rows import open_keys, seal_keys
from ciab.adapters.db.tables import attempts, keys
from ciab.core.ids import SandboxId
from ciab.core.machine import SandboxKeys
from ciab.core.ports import Vault


class SqlKeys:
    """The port Keys."""

    def __init__(self, sql: Sql, vault: Vault) -> None:
        self._sql = sql
        self._vault = vault

    async def keep(self, sandbox_id: SandboxId, pairs: SandboxKeys) -> SandboxKeys:
        """As the port has it. Raises SandboxNotFound."""

        async def work(connection: AsyncConnection) -> SandboxKeys:
            if kept := await self._kept(connection, sandbox_id):
                return kept
            row = {"sandbox_id": sandbox_id, "pairs": seal_keys(pairs, sandbox_id, self._vault)}
            await connection.execute(insert(keys).values(row))
            return pairs

        return await self._sql.write(f"keep the keys of sandbox {sandbox_id}", work)

    async def get(self, sandbox_id: SandboxId) -> SandboxKeys | None:
        """As the port has it."""

        async def work(connection: AsyncConnection) -> SandboxKeys | None:
            return await self._kept(connection, sandbox_id)

        return await self._sql.read(f"read the keys of sandbox {sandbox_id}", work)

    async def discard(self, sandbox_id: SandboxId) -> None:
        """As the port has it. `secure_delete` overwrites them in the file, but does not reach the
        write-ahead log, so that is emptied: also when nothing is left to delete, for the time before may have
        been cut off. Raises RuntimeUnavailable when a reader holds that up."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(keys).where(keys.c.sandbox_id == sandbox_id))
            requests = update(attempts).where(attempts.c.sandbox_id == sandbox_id)
            await connection.execute(requests.values(request=None))

        await self._sql.write(f"discard the keys of sandbox {sandbox_id}", work)
        await self._sql.truncate_log()

    async def _kept(self, connection: AsyncConnection, sandbox_id: SandboxId) -> SandboxKeys | None:
        row = (await connection.execute(select(keys).where(keys.c.sandbox_id == sandbox_id))).one_or_none()
        return open_keys(row.pairs, sandbox_id, self._vault) if row else None
