"""The client. Methods are named as the routes are; a sandbox is named by id, unique prefix or name.

Errors are the core's classes, found again by their code, or ServerUnreachable, NotCiab, TimedOut.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Set
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import httpx
from pydantic import TypeAdapter

from ciab.core.errors import CiabError
from ciab.core.states import ENDED, MOVING, State
from ciab.schema.access import SshAccess, SshAccessRequest
from ciab.schema.costs import CostReport
from ciab.schema.events import StreamEvent
from ciab.schema.exec import FRAME, ErrorFrame, ExecRequest, ExecResult, ExitFrame, OutputFrame
from ciab.schema.files import FileInfo, absolute
from ciab.schema.health import Health, Ready
from ciab.schema.reaper import GcRequest, Verdict
from ciab.schema.sandboxes import RecoverRequest, SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.schema.values import REVEAL
from ciab.sdk import following, proxying
from ciab.sdk.addresses import API, of_file, of_sandbox
from ciab.sdk.connection import Connection
from ciab.sdk.errors import ServerUnreachable
from ciab.sdk.following import Pause, growing_pause
from ciab.sdk.sse import messages

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

SETTLED = frozenset(State) - MOVING
"""States in which a sandbox stays until somebody asks for another."""

CREATE_ATTEMPTS = 4
GC_SECS = 900.0
"""A sweep asks several regions, one after another, and waits between two looks."""

STREAM_SILENCE_SECS = 300.0
"""A stream says at least that it lives well within this time; afterwards the connection counts as dead."""

_SANDBOXES = TypeAdapter(list[SandboxInfo])
_FILES = TypeAdapter(list[FileInfo])
_VERDICTS = TypeAdapter(list[Verdict])


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete left to its user, if anything: the id of a stopped instance, and a sentence about it."""

    released_instance: str | None = None
    notice: str | None = None


class Client:
    """Used with `async with`; one client serves any number of tasks of one event loop."""

    def __init__(
        self,
        server_url: str = "http://127.0.0.1:9090",
        api_key: str | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Pause = growing_pause,
    ) -> None:
        self._connection = Connection(server_url, api_key, transport)
        self._pause = pause

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._connection.__aexit__(*exc)

    async def health(self) -> Health:
        """The server's process answers."""
        answer = await self._connection.request("GET", "/health", read_secs=10)
        return Health.model_validate_json(answer.body)

    async def ready(self) -> Ready:
        """Whether the server can work, and if not, why not."""
        answer = await self._connection.request("GET", "/ready", also=frozenset({503}))
        return Ready.model_validate_json(answer.body)

    async def create_sandbox(self, spec: SandboxSpec, *, idempotency_key: str | None = None) -> SandboxInfo:
        """Record the wish and return; `wait_until` waits for the machine.

        Repeated under one idempotency key when the answer is lost, so there is never a second sandbox.
        """
        body = spec.model_dump(mode="json", context=REVEAL, exclude_defaults=True)
        return _info(await self._made(f"{API}/sandboxes", body, idempotency_key))

    async def list_sandboxes(
        self,
        *,
        state: State | str | None = None,
        provider: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> list[SandboxInfo]:
        """One page, newest first, after the sandbox whose id is `cursor`."""
        wanted = {
            "state": state and str(state),
            "provider": provider,
            "labels": ",".join(f"{key}={value}" for key, value in (labels or {}).items()),
            "limit": str(limit),
            "cursor": cursor,
        }
        params = {key: value for key, value in wanted.items() if value}
        answer = await self._connection.request("GET", f"{API}/sandboxes", params=params)
        return _SANDBOXES.validate_json(answer.body, extra="ignore")

    async def get_sandbox(self, sandbox: str) -> SandboxInfo:
        """As it is now."""
        return _info((await self._connection.request("GET", of_sandbox(sandbox))).body)

    async def delete_sandbox(self, sandbox: str) -> Deleted:
        """Record that it is to end and return; repeating it is no error."""
        answer = await self._connection.request("DELETE", of_sandbox(sandbox))
        return Deleted(answer.headers.get("X-CIAB-Released-Instance"), answer.headers.get("X-CIAB-Notice"))

    async def start_sandbox(self, sandbox: str) -> SandboxInfo:
        """Boot a stopped sandbox again."""
        return _info((await self._connection.request("POST", of_sandbox(sandbox, "start"))).body)

    async def stop_sandbox(self, sandbox: str) -> SandboxInfo:
        """Shut a sandbox down and keep its disk."""
        return _info((await self._connection.request("POST", of_sandbox(sandbox, "stop"))).body)

    async def pause_sandbox(self, sandbox: str) -> SandboxInfo:
        """Stop, hibernate or freeze a running sandbox, as the server is configured."""
        return _info((await self._connection.request("POST", of_sandbox(sandbox, "pause"))).body)

    async def resume_sandbox(self, sandbox: str) -> SandboxInfo:
        """Let a paused sandbox run again. If that fails it is paused or stopped, and its failure says why."""
        return _info((await self._connection.request("POST", of_sandbox(sandbox, "resume"))).body)

    async def recover_sandbox(
        self, sandbox: str, name: str | None = None, *, idempotency_key: str | None = None
    ) -> SandboxInfo:
        """Make a new sandbox with the spec of one that has ended, under its name unless another is given.

        Repeated as `create_sandbox` is, with the lost one's id: its name may be the new one's by then.
        """
        lost = await self.get_sandbox(sandbox)
        body = RecoverRequest(name=name).model_dump(exclude_defaults=True)
        return _info(await self._made(of_sandbox(lost.id, "recover"), body, idempotency_key))

    async def get_costs(self) -> CostReport:
        """What sandboxes cost, and the budgets."""
        answer = await self._connection.request("GET", f"{API}/costs")
        return CostReport.model_validate_json(answer.body, extra="ignore")

    async def collect_garbage(self, *, dry_run: bool = False, owner: str | None = None) -> list[Verdict]:
        """End what carries this installation's tags, or those of the lost one `owner`, and no live sandbox
        owns; with `dry_run` only say what that would be."""
        body = GcRequest.model_validate({"dry_run": dry_run, "owner": owner}).model_dump(mode="json")
        answer = await self._connection.request("POST", f"{API}/gc", json=body, read_secs=GC_SECS)
        return _VERDICTS.validate_json(answer.body, extra="ignore")

    async def wait_until(
        self,
        sandbox: str,
        states: Set[State] = SETTLED,
        *,
        on_event: Callable[[StreamEvent], None] | None = None,
    ) -> SandboxInfo:
        """The sandbox once it is in one of the states, or has ended. Limit it with `asyncio.timeout`.

        `on_event` gets the sandbox's whole story, from its first event on.
        """
        info = await self.get_sandbox(sandbox)
        return await following.wait_until(
            lambda: self.get_sandbox(info.id), self.events(info.id), states | ENDED, on_event, self._pause
        )

    async def exec(self, sandbox: str, request: ExecRequest) -> ExecResult:
        """Run a command to its end. Its failure is a result; the machine's is an error."""
        limit = None if request.timeout_secs is None else request.timeout_secs + 60
        answer = await self._connection.request(
            "POST", of_sandbox(sandbox, "exec"), json=_exec_body(request), read_secs=limit
        )
        return ExecResult.model_validate_json(answer.body)

    async def exec_stream(
        self, sandbox: str, request: ExecRequest
    ) -> AsyncGenerator[OutputFrame | ExitFrame, None]:
        """Output as it happens and last an ExitFrame. Closing the generator ends the command."""
        async with self._connection.stream(
            "POST",
            of_sandbox(sandbox, "exec/stream"),
            json=_exec_body(request),
            read_secs=STREAM_SILENCE_SECS,
        ) as response:
            async for message in messages(response.aiter_bytes()):
                frame = FRAME.validate_json(message.data)
                if isinstance(frame, ErrorFrame):
                    raise frame.error.raised()
                yield frame
                if isinstance(frame, ExitFrame):
                    return
        raise ServerUnreachable("the server ended the stream before the command ended", hint="try again")

    async def list_files(self, sandbox: str, path: str) -> list[FileInfo]:
        """What a folder holds; of a file, the file itself."""
        params = {"path": absolute(path)}
        answer = await self._connection.request("GET", of_sandbox(sandbox, "files"), params=params)
        return _FILES.validate_json(answer.body)

    async def download_file(self, sandbox: str, path: str) -> AsyncGenerator[bytes, None]:
        """A file's bytes as they arrive."""
        async with self._connection.stream("GET", of_file(sandbox, path)) as response:
            async for chunk in response.aiter_bytes():
                yield chunk

    async def upload_file(self, sandbox: str, path: str, content: bytes | AsyncIterable[bytes]) -> FileInfo:
        """Replace a file in one move; missing folders are made."""
        answer = await self._connection.request(
            "PUT", of_file(sandbox, path), content=content, read_secs=None
        )
        return FileInfo.model_validate_json(answer.body)

    async def delete_file(self, sandbox: str, path: str) -> None:
        """Delete a file, a link or an empty folder."""
        await self._connection.request("DELETE", of_file(sandbox, path))

    async def events(self, sandbox: str, after: int = 0) -> AsyncGenerator[StreamEvent, None]:
        """Every event later than `after`, past and to come, with no gap and no repeat, until it has ended.

        A broken connection is made again; after half a minute without success its error is raised.
        """
        follow = following.follow(
            lambda last: self._open_events(sandbox, last),
            lambda: self.get_sandbox(sandbox),
            after,
            self._pause,
        )
        async with aclosing(follow):
            async for event in follow:
                yield event

    async def ssh_access(self, sandbox: str, public_key: str, ttl_secs: float = 3600) -> SshAccess:
        """Let the owner of a key in for a limited time."""
        request = SshAccessRequest(public_key=public_key, ttl_secs=ttl_secs)
        answer = await self._connection.request(
            "POST", of_sandbox(sandbox, "ssh-access"), json=request.model_dump()
        )
        return SshAccess.model_validate_json(answer.body)

    def proxy(self, sandbox: str) -> "AbstractAsyncContextManager[ClientConnection]":
        """An open WebSocket to the sandbox's SSH port; binary messages in both directions."""
        return proxying.opened(self._connection, of_sandbox(sandbox, "proxy"))

    async def _open_events(self, sandbox: str, last: int) -> AsyncGenerator[StreamEvent, None]:
        headers = {"Last-Event-ID": str(last)}
        async with self._connection.stream(
            "GET", of_sandbox(sandbox, "stream"), headers=headers, read_secs=STREAM_SILENCE_SECS
        ) as response:
            async for message in messages(response.aiter_bytes()):
                yield StreamEvent.model_validate_json(message.data)

    async def _made(self, path: str, body: object, key: str | None) -> bytes:
        """POST under one idempotency key, repeated when the answer is lost: never two of what it makes."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        for attempt in range(1, CREATE_ATTEMPTS + 1):
            try:
                answer = await self._connection.request("POST", path, json=body, headers=headers)
            except CiabError as error:
                unsent = isinstance(error.__cause__, httpx.ConnectError)
                if attempt == CREATE_ATTEMPTS or not error.retryable or unsent:
                    raise
                await asyncio.sleep(self._pause(attempt))
            else:
                return answer.body
        raise AssertionError("the last attempt returns or raises")


def _info(body: bytes) -> SandboxInfo:
    return SandboxInfo.model_validate_json(body, extra="ignore")


def _exec_body(request: ExecRequest) -> object:
    return request.model_dump(mode="json", context=REVEAL, exclude_defaults=True)
