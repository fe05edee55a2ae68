"""What the control plane does in a machine for its own sake: small programs, run by its guest program."""

import asyncio
import json
from functools import cache
from importlib import resources

from ciab.adapters.ssh.guest import SshGuest
from ciab.core.errors import GuestFault
from ciab.core.guest import Command, Pulse

LOADER = r"""import sys, types
guest = sys.modules["guest"] = types.ModuleType("guest")
guest.__path__, guest.source = [], sys.stdin.read()
shared, program = guest.source.split("\0")
processes = sys.modules["guest.processes"] = types.ModuleType("guest.processes")
exec(compile(shared, "ciab-processes", "exec"), processes.__dict__)
exec(compile(program, "ciab-care", "exec"), {"__name__": "__main__", "__package__": "guest"})
"""
PULSE_SECONDS = 10.0
FREEZE_SECONDS = 40.0
"""More than the program itself takes with a machine that does not stand still."""
LIMIT_BYTES = 1 << 16


class SshCare:
    """The port Care over one machine's guest program; one thing at a time."""

    def __init__(self, guest: SshGuest) -> None:
        self._guest = guest
        self._one = asyncio.Lock()

    async def pulse(self, *, spot: bool = False) -> Pulse:
        """As the port has it."""
        doing = "take the machine's pulse"
        said = await self._run(doing, "pulse.py", "pulse", *(["spot"] if spot else []), seconds=PULSE_SECONDS)
        match said:
            case {
                "boot": str(boot),
                "cpu_seconds": int() | float() as cpu,
                "over_seconds": int() | float() as over,
            }:
                at = said.get("interruption")
                return Pulse(boot, float(cpu), float(over), at if isinstance(at, str) else None)
        raise _nonsense(doing)

    async def disarm(self) -> None:
        """As the port has it."""
        await self._run("take off the machine's dead-man's switch", "pulse.py", "off", seconds=PULSE_SECONDS)

    async def freeze(self) -> None:
        """As the port has it. When one process cannot be stopped, none is."""
        await self._all("freeze the machine's processes", "freeze")

    async def thaw(self) -> None:
        """As the port has it."""
        await self._all("thaw the machine's processes", "thaw")

    async def _all(self, doing: str, word: str) -> None:
        said = await self._run(doing, "freeze.py", word, seconds=FREEZE_SECONDS)
        left = said.get("left")
        if not isinstance(left, list):
            raise _nonsense(doing)
        if left:
            raise GuestFault(
                f"could not {doing}: out of reach were {', '.join(map(str, left))[:200]}",
                hint="end them, or let the machine's user use sudo without a password",
            )

    async def _run(self, doing: str, name: str, *words: str, seconds: float) -> dict[str, object]:
        argv = ("python3", "-I", "-S", "-X", "utf8", "-c", LOADER, *words)
        command = Command(argv, workdir="/", timeout=seconds)
        async with self._one:
            ran = await self._guest.run(command, _source(name), limit_bytes=LIMIT_BYTES)
        if ran.timed_out:
            raise GuestFault(f"could not {doing}: it took longer than {seconds:g} s")
        if ran.exit_code != 0:
            why = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
            raise GuestFault(f"could not {doing}: {why or f'it ended with code {ran.exit_code}'}")
        try:
            said = json.loads(ran.stdout)
        except ValueError as exc:
            raise _nonsense(doing) from exc
        if not isinstance(said, dict):
            raise _nonsense(doing)
        return said


@cache
def _source(name: str) -> bytes:
    """What the loader reads: the text that all share, and the one that is wanted."""
    folder = resources.files("ciab.guest")
    return b"\0".join(folder.joinpath(part).read_bytes() for part in ("processes.py", name))


def _nonsense(doing: str) -> GuestFault:
    return GuestFault(f"could not {doing}: what came back from the machine is no answer")
