"""The inside of machines, in memory: commands that are Python functions, files in a dictionary.

They pass the contract suites of the real ones. Nothing runs and nothing is written anywhere; time passes only
where a program sleeps. What a sandbox's files hold outlives its connections, as on a machine.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from posixpath import join, normpath

from ciab.core.errors import CiabError, InvalidRequest
from ciab.core.guest import Command, Exit, Output, Ran, Target
from ciab.core.ids import SandboxId
from ciab.testing.care import FakeCare
from ciab.testing.files import FakeFiles


@dataclass(frozen=True)
class Call:
    """One command as its program sees it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    stdin: AsyncIterable[bytes]
    printed: "asyncio.Queue[Output | None]"
    files: FakeFiles

    def out(self, data: bytes) -> None:
        """Print on stdout."""
        if data:
            self.printed.put_nowait(Output("stdout", data))

    def err(self, data: bytes) -> None:
        """Print on stderr."""
        if data:
            self.printed.put_nowait(Output("stderr", data))

    async def all_stdin(self) -> bytes:
        """Standard input to its end."""
        return b"".join([chunk async for chunk in self.stdin])


Program = Callable[[Call], Awaitable[int]]
"""Gives the exit code."""


async def _true(call: Call) -> int:
    return 0


async def _false(call: Call) -> int:
    return 1


async def _echo(call: Call) -> int:
    call.out(" ".join(call.argv[1:]).encode("utf-8", "surrogateescape") + b"\n")
    return 0


async def _cat(call: Call) -> int:
    async for chunk in call.stdin:
        call.out(chunk)
    return 0


async def _env(call: Call) -> int:
    call.out("".join(f"{name}={value}\n" for name, value in call.env.items()).encode())
    return 0


async def _pwd(call: Call) -> int:
    call.out(call.workdir.encode() + b"\n")
    return 0


async def _sleep(call: Call) -> int:
    await asyncio.sleep(float(call.argv[1]))
    return 0


async def _swallow(call: Call) -> int:
    await call.all_stdin()
    return 0


async def _make_folder(call: Call) -> int:
    call.files.make_folder(join(call.workdir, call.argv[-1]))
    return 0


PROGRAMS: Mapping[str, Program] = {
    "true": _true,
    "false": _false,
    "echo": _echo,
    "cat": _cat,
    "env": _env,
    "pwd": _pwd,
    "sleep": _sleep,
    # what setting a machine up calls: each ends well, and makes the folder or nothing
    **dict.fromkeys(("mkdir", "mv"), _make_folder),
    **dict.fromkeys(("rm", "git", "bash"), _swallow),
}


class FakeGuest:
    """The port Guest. `ran` lists every command in the order of their starts."""

    def __init__(self, files: FakeFiles, programs: Mapping[str, Program], care: FakeCare) -> None:
        self.ran: list[Command] = []
        self.ended = 0
        """How many of them are over, by themselves or because nobody wanted them any more."""
        self._care = care
        self._files = files
        self._programs = programs

    async def run(self, command: Command, stdin: bytes = b"", *, limit_bytes: int) -> Ran:
        """As the port has it."""
        kept = {"stdout": b"", "stderr": b""}
        dropped = False
        result = Exit(0, 0)
        async for item in self.stream(command, _once(stdin)):
            if isinstance(item, Exit):
                result = item
            else:
                whole = kept[item.stream] + item.data
                kept[item.stream] = whole[:limit_bytes]
                dropped = dropped or len(whole) > limit_bytes
        return Ran(result.code, kept["stdout"], kept["stderr"], result.duration_ms, result.timed_out, dropped)

    async def stream(
        self, command: Command, stdin: AsyncIterable[bytes] | None = None
    ) -> AsyncIterator[Output | Exit]:
        """As the port has it."""
        if not command.argv or any("\0" in word for word in command.argv):
            raise InvalidRequest("the command is empty or has a NUL")
        printed: asyncio.Queue[Output | None] = asyncio.Queue()
        call = Call(
            command.argv,
            {name: value.reveal() for name, value in command.env.items()},
            self._workdir(command.workdir),
            stdin if stdin is not None else _once(b""),
            printed,
            self._files,
        )
        self.ran.append(command)
        goes_on = asyncio.Event()
        goes_on.set()
        self._care.running.add(goes_on)
        running = asyncio.create_task(self._play(call, command.timeout))
        running.add_done_callback(lambda _: printed.put_nowait(None))
        try:
            while True:
                item = await printed.get()
                await goes_on.wait()  # what a frozen command did meanwhile, nobody sees before it is thawed
                if item is None:
                    break
                yield item
            code = await running
            yield Exit(124 if code is None else code, 0, timed_out=code is None)
        finally:
            self._care.running.discard(goes_on)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
            self.ended += 1

    async def _play(self, call: Call, timeout: float | None) -> int | None:
        """None: its time was over."""
        program = self._programs.get(call.argv[0])
        if program is None:
            call.err(f"ciab: {call.argv[0]}: No such file or directory\n".encode())
            return 127
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                return await program(call)
        except TimeoutError:
            if deadline.expired():
                return None
            raise

    def _workdir(self, workdir: str | None) -> str:
        default = self._files.home
        with suppress(CiabError):
            default = self._files.folder("~/workspace")
        path = workdir or default
        if not path.startswith(("/", "~")):
            path = normpath(join(default, path))
        try:
            return self._files.folder(path)
        except CiabError as error:
            raise InvalidRequest(f"cannot enter the working directory {workdir}") from error


class FakeConnection:
    """The port Connection."""

    def __init__(self, files: FakeFiles, programs: Mapping[str, Program], care: FakeCare) -> None:
        self.files = files
        self.guest = FakeGuest(files, programs, care)
        self.care = care


class FakeConnections:
    """The port Connections. `programs` come on top of PROGRAMS.

    `fail_next` raises its fault once, at the next call of the method it names. `logins` counts how often a
    sandbox was really connected to.
    """

    def __init__(
        self,
        *,
        programs: Mapping[str, Program] | None = None,
        fail_next: Mapping[str, CiabError] | None = None,
    ) -> None:
        self.fail_next: dict[str, CiabError] = dict(fail_next or {})
        self.logins: dict[SandboxId, int] = {}
        self._programs = {**PROGRAMS, **(programs or {})}
        self._open: dict[SandboxId, tuple[Target, FakeConnection]] = {}
        self._files: dict[SandboxId, FakeFiles] = {}
        self._cares: dict[SandboxId, FakeCare] = {}

    def care(self, sandbox_id: SandboxId) -> FakeCare:
        """What care is taken of a sandbox's machine, also before it is first connected to."""
        return self._cares.setdefault(sandbox_id, FakeCare())

    async def connect(self, target: Target) -> FakeConnection:
        """As the port has it."""
        await asyncio.sleep(0)
        if fault := self.fail_next.pop("connect", None):
            raise fault
        known, connection = self._open.get(target.sandbox_id, (None, None))
        if connection is None or known != target:
            self.logins[target.sandbox_id] = self.logins.get(target.sandbox_id, 0) + 1
            files = self._files.setdefault(target.sandbox_id, FakeFiles(f"/home/{target.user}"))
            connection = FakeConnection(files, self._programs, self.care(target.sandbox_id))
            self._open[target.sandbox_id] = (target, connection)
        return connection

    async def close(self, sandbox_id: SandboxId) -> None:
        """As the port has it."""
        self._open.pop(sandbox_id, None)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
