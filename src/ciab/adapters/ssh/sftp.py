"""Files inside a machine, by SFTP: streamed both ways, several requests under way, memory constant."""

import asyncio
import secrets
import stat as modes
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from posixpath import dirname, join, normpath
from typing import TypeVar

import asyncssh
from asyncssh.sftp import SFTPClientFile

from ciab.adapters.ssh.errors import translated
from ciab.adapters.ssh.sessions import opened
from ciab.core.errors import Conflict, FileMissing, Forbidden, GuestFault, GuestUnreachable, InvalidRequest
from ciab.core.guest import FileInfo

Answer = TypeVar("Answer")

UNDER_WAY = 16
"""Requests of one transfer that are sent and not answered."""
LARGEST_PIECE = 256 * 1024
LEADS_NOWHERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure)
"""What following a link may meet; the folder that holds it is listed all the same."""


class SftpFiles:
    """The port Files on one SSH connection. A link is followed; writing to one replaces what it points at."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        self._connection = connection
        self._starting = asyncio.Lock()
        self._client: asyncssh.SFTPClient | None = None
        self._home = ""

    async def list(self, path: str) -> Sequence[FileInfo]:
        """What a folder holds, by name, links by what they point at; of a file, the file itself."""
        sftp, full = await self._at(path)
        with self._told(full):
            attrs = await sftp.stat(full)
            if not _is(attrs, modes.S_ISDIR):
                return [_info(full, attrs)]
            found = [entry async for entry in sftp.scandir(full)]
            names = {str(entry.filename): entry.attrs for entry in found}
            for name in (".", ".."):
                names.pop(name, None)
            for name, attrs in names.items():
                if _is(attrs, modes.S_ISLNK):
                    with suppress(*LEADS_NOWHERE):
                        names[name] = await sftp.stat(join(full, name))
            return [_info(join(full, name), names[name]) for name in sorted(names)]

    async def stat(self, path: str) -> FileInfo:
        """One file or folder; of a link, what it points at."""
        sftp, full = await self._at(path)
        with self._told(full):
            return _info(full, await sftp.stat(full))

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """A regular file's bytes, in pieces of up to 256 KiB."""
        sftp, full = await self._at(path)
        with self._told(full):
            size = _regular(full, await sftp.stat(full))
            piece = min(LARGEST_PIECE, sftp.limits.max_read_len or LARGEST_PIECE)
            async with await sftp.open(full, "rb", block_size=0) as file:
                async for data in _pieces(file, piece, size):
                    yield data

    async def write(self, path: str, content: AsyncIterable[bytes], *, mode: int | None = None) -> FileInfo:
        """Replace a file in one move. Without `mode` it keeps the old file's, a new one has the machine's
        default. When it fails half way, the old file is as it was."""
        sftp, full = await self._at(path)
        with self._told(full):
            full, old = await self._target(sftp, full)
            draft = join(dirname(full), f".ciab-{secrets.token_hex(8)}")
            if mode is None and old is not None and old.permissions is not None:
                mode = modes.S_IMODE(old.permissions)
            async with _draft(sftp, draft, mode) as file:
                await _send(file, content, min(LARGEST_PIECE, sftp.limits.max_write_len or LARGEST_PIECE))
                attrs = await file.stat()
                await file.close()
                await sftp.posix_rename(draft, full)
            return _info(full, attrs)

    async def delete(self, path: str) -> None:
        """Delete a file, a link itself, or an empty folder. Raises Conflict when the folder is not empty."""
        sftp, full = await self._at(path)
        with self._told(full):
            if not _is(await sftp.lstat(full), modes.S_ISDIR):
                await sftp.remove(full)
                return
            try:
                await sftp.rmdir(full)
            except (asyncssh.SFTPFailure, asyncssh.SFTPDirNotEmpty) as exc:
                raise Conflict(f"the folder {full} is not empty", hint="delete what is in it first") from exc

    async def _at(self, path: str) -> tuple[asyncssh.SFTPClient, str]:
        """The client, and the absolute path."""
        if "\0" in path or not (path.startswith("/") or f"{path}/".startswith("~/")):
            raise InvalidRequest(f"{path!r} is not a path", hint="give an absolute one, or one below ~/")
        if self._client is None:
            async with self._starting:
                if self._client is None:
                    with translated("open the machine's files"):
                        client = await opened(
                            self._connection,
                            lambda: self._connection.start_sftp_client(path_errors="surrogateescape"),
                        )
                        self._home = str(await client.realpath("."))
                        self._client = client
        full = self._home + path[1:] if path.startswith("~") else path
        return self._client, full if ".." in full else normpath(full)  # a .. after a link is the machine's

    async def _target(self, sftp: asyncssh.SFTPClient, full: str) -> tuple[str, asyncssh.SFTPAttrs | None]:
        """Where to write: what a link points at, and what is there now. Makes missing folders."""
        try:
            attrs = await sftp.stat(full)
            _regular(full, attrs)
            return str(await sftp.realpath(full)), attrs
        except asyncssh.SFTPNoSuchFile:
            try:
                await sftp.makedirs(dirname(full), exist_ok=True)
            except (asyncssh.SFTPFailure, asyncssh.SFTPFileAlreadyExists, asyncssh.SFTPNotADirectory) as exc:
                raise InvalidRequest(f"{dirname(full)} is not a folder and cannot become one") from exc
            return full, None

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        """Tell SFTP's errors as the core's."""
        try:
            with translated(f"reach {path} on the machine"):
                try:
                    yield
                except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory) as exc:
                    raise FileMissing(f"there is no {path} on the machine") from exc
                except asyncssh.SFTPPermissionDenied as exc:
                    raise Forbidden(f"the machine's user has no permission for {path}") from exc
                except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as exc:
                    self._client = None  # the session may have ended alone: the next call opens another
                    raise GuestUnreachable(f"the connection to the machine broke at {path}") from exc
                except (asyncssh.SFTPBadMessage, asyncssh.SFTPInvalidFilename) as exc:
                    raise InvalidRequest(f"the machine does not take the name {path}") from exc
                except asyncssh.SFTPError as exc:
                    hint = "the disk may be full or read-only"
                    raise GuestFault(f"the machine could not handle {path}: {exc.reason}", hint=hint) from exc
        except UnicodeEncodeError as exc:
            raise InvalidRequest(f"the machine does not take the name {path!r}") from exc


@asynccontextmanager
async def _draft(sftp: asyncssh.SFTPClient, path: str, mode: int | None) -> AsyncIterator[SFTPClientFile]:
    """A new file beside the one that it will replace; removed when it does not come to that."""
    file = await sftp.open(path, "xb", block_size=0)
    try:
        if mode is not None:
            await file.setstat(asyncssh.SFTPAttrs(permissions=mode))
        yield file
    except BaseException:
        with suppress(asyncssh.Error, OSError):
            await file.close()
            await sftp.remove(path)
        raise


async def _pieces(file: SFTPClientFile, piece: int, size: int) -> AsyncIterator[bytes]:
    """A file's bytes in order, several requests ahead; `size` is a guess at where it ends."""
    ahead: deque[asyncio.Task[bytes]] = deque()
    asked = at = 0
    try:
        while True:
            while len(ahead) < UNDER_WAY and (asked <= size or not ahead):
                ahead.append(_begun(file.read(piece, asked)))
                asked += piece
            data = await ahead.popleft()
            if not data:
                return
            yield data
            at += len(data)
            if len(data) < piece:
                if 0 < size <= at:
                    return
                _drop(ahead)  # a short answer, as for files of /proc: ask again from there
                asked = at
    finally:
        _drop(ahead)


def _begun(request: Coroutine[None, None, Answer]) -> asyncio.Task[Answer]:
    task = asyncio.ensure_future(request)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if not waited for
    return task


def _drop(tasks: deque[asyncio.Task[bytes]]) -> None:
    while tasks:
        tasks.pop().cancel()


async def _send(file: SFTPClientFile, content: AsyncIterable[bytes], piece: int) -> None:
    """Write what comes, several requests under way."""
    waiting: deque[asyncio.Task[int]] = deque()
    buffer = bytearray()
    at = 0
    try:
        async for data in content:
            buffer += data
            while len(buffer) >= piece:
                if len(waiting) == UNDER_WAY:
                    await waiting.popleft()
                waiting.append(_begun(file.write(bytes(buffer[:piece]), at)))
                del buffer[:piece]
                at += piece
        waiting.append(_begun(file.write(bytes(buffer), at)))
        while waiting:
            await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()


def _is(attrs: asyncssh.SFTPAttrs, kind: object) -> bool:
    return callable(kind) and bool(kind(attrs.permissions or 0))


def _regular(path: str, attrs: asyncssh.SFTPAttrs) -> int:
    """Its size. Opening a FIFO or a device could wait for ever, so they are refused."""
    if _is(attrs, modes.S_ISDIR):
        raise InvalidRequest(f"{path} is a folder, not a file")
    if not _is(attrs, modes.S_ISREG):
        raise InvalidRequest(
            f"{path} is not a regular file", hint="devices, FIFOs and sockets are not touched"
        )
    return attrs.size or 0


def _info(path: str, attrs: asyncssh.SFTPAttrs) -> FileInfo:
    permissions = attrs.permissions or 0
    return FileInfo(
        path=path,
        size=attrs.size or 0,
        is_dir=modes.S_ISDIR(permissions),
        mode=modes.S_IMODE(permissions),
        modified_at=datetime.fromtimestamp(attrs.mtime or 0, UTC),
    )
