"""What a machine that did not come up can tell: the end of its console and of cloud-init's log."""

import asyncio
import logging
from dataclasses import replace

from ciab.control.reach import target_of
from ciab.control.work import Ports
from ciab.core.errors import CiabError
from ciab.core.guest import Command
from ciab.core.sandbox import Failure, Sandbox
from ciab.core.secret import MASK

log = logging.getLogger(__name__)

LINES = 20
CONSOLE_LINES = 60
"""A shutdown alone may print forty, and what led to it stands before them."""
WIDTH = 500
SECONDS = 10.0
"""A failed machine costs money: this much patience with what it has to tell."""

_CLOUD_INIT = "/var/log/cloud-init-output.log"


async def with_evidence(failure: Failure, sandbox: Sandbox, ports: Ports) -> Failure:
    """The failure with what the machine can tell; as it is when there is no machine or it tells nothing."""
    if sandbox.machine is None:
        return failure
    console, cloud_init = await asyncio.gather(_console(sandbox, ports), _cloud_init(sandbox, ports))
    return replace(failure, console=console, cloud_init=cloud_init)


async def _console(sandbox: Sandbox, ports: Ports) -> str | None:
    assert sandbox.machine is not None  # noqa: S101 - the caller looked
    try:
        async with asyncio.timeout(SECONDS):
            return _end(await ports.machines.console(sandbox.machine), sandbox, CONSOLE_LINES)
    except (CiabError, TimeoutError) as trouble:
        log.info(
            "no console", extra={"action": "console_missing", "sandbox": sandbox.id, "why": str(trouble)}
        )
        return None


async def _cloud_init(sandbox: Sandbox, ports: Ports) -> str | None:
    # its owner is root and its group adm; where the user is not in it, sudo may help
    read = f"tail -n {LINES} {_CLOUD_INIT} 2>/dev/null || sudo -n tail -n {LINES} {_CLOUD_INIT}"
    try:
        async with asyncio.timeout(SECONDS):
            connection = await ports.connections.connect(await target_of(sandbox, ports))
            command = Command(("sh", "-c", read), workdir="~", timeout=SECONDS / 2)
            ran = await connection.guest.run(command, limit_bytes=64 * 1024)
    except (CiabError, TimeoutError) as trouble:
        log.info("no log", extra={"action": "cloud_init_missing", "sandbox": sandbox.id, "why": str(trouble)})
        return None
    return _end(ran.stdout.decode("utf-8", "replace"), sandbox, LINES) if ran.exit_code == 0 else None


def _end(text: str, sandbox: Sandbox, count: int) -> str | None:
    """The last lines, without what the sandbox's environment keeps secret and what no terminal should get."""
    for value in sandbox.spec.env_vars.values():
        if len(value.reveal()) > 3:
            text = text.replace(value.reveal(), MASK)
    lines = ["".join(c for c in line if c.isprintable()).rstrip()[:WIDTH] for line in text.splitlines()]
    return "\n".join([line for line in lines if line][-count:]) or None
