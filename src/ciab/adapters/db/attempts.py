"""Launch attempts: on the disk before the request that may cost money is sent."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ciab.adapters.db.encoding import to_text
from ciab.adapters.db.engine import Sql
from ciab.adapters.db.rows import attempt_of, attempt_values, place_of
from ciab.adapters.db.tables import attempts
from ciab.core.ids import SandboxId
from ciab.core.machine import LaunchAttempt, Outcome, Place
from ciab.core.ports import Vault


class SqlAttempts:
    """The port Attempts."""

    def __init__(self, sql: Sql, vault: Vault, clock: Callable[[], datetime]) -> None:
        self._sql = sql
        self._vault = vault
        self._clock = clock

    async def begin(self, attempt: LaunchAttempt) -> None:
        """As the port has it. Raises Conflict when the number is taken, and SandboxNotFound."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(attempts).values(attempt_values(attempt, self._vault)))

        await self._sql.write(f"record a launch attempt of sandbox {attempt.sandbox_id}", work)

    async def settle(self, attempt: LaunchAttempt, outcome: Outcome, machine_id: str | None = None) -> None:
        """As the port has it."""

        async def work(connection: AsyncConnection) -> None:
            own = (attempts.c.sandbox_id == attempt.sandbox_id, attempts.c.number == attempt.number)
            word = {"outcome": outcome.value, "machine_id": machine_id, "settled_at": to_text(self._clock())}
            await connection.execute(update(attempts).where(*own).values(word))

        await self._sql.write(f"settle a launch attempt of sandbox {attempt.sandbox_id}", work)

    async def past(self, sandbox_id: SandboxId) -> Sequence[LaunchAttempt]:
        """As the port has it."""
        own = select(attempts).where(attempts.c.sandbox_id == sandbox_id).order_by(attempts.c.number)
        rows = await self._sql.rows(f"read the launch attempts of sandbox {sandbox_id}", own)
        return [attempt_of(row, self._vault) for row in rows]

    async def regions(self) -> Sequence[Place]:
        """As the port has it."""
        columns = attempts.c["backend", "account", "endpoint", "region"]
        wanted = select(*columns).distinct().order_by(*columns)
        return [place_of(row) for row in await self._sql.rows("read where sandboxes were launched", wanted)]
