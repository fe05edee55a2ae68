"""Files in memory, with the rules of the port Files."""

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from posixpath import dirname, normpath

from ciab.core.errors import Conflict, FileMissing, InvalidRequest
from ciab.core.guest import FileInfo

PIECE = 1 << 16


@dataclass(frozen=True)
class _Entry:
    content: bytes | None
    """None: neither a file nor a folder, a FIFO for instance."""
    mode: int
    modified_at: datetime
    is_dir: bool = False


class FakeFiles:
    """The port Files, and the folders that commands can start in."""

    def __init__(self, home: str) -> None:
        self.home = home
        self._entries: dict[str, _Entry] = {}
        self.make_folder(home)

    def make_folder(self, path: str) -> None:
        """Make a folder with those above it."""
        missing = []
        path = self._full(path)
        while path != "/" and path not in self._entries:
            missing.append(path)
            path = dirname(path)
        if path != "/" and not self._entries[path].is_dir:
            raise InvalidRequest(f"{path} is not a folder")
        for one in [*missing, "/"]:
            self._entries[one] = _Entry(None, 0o755, datetime.now(UTC), is_dir=True)

    def make_fifo(self, path: str) -> None:
        """Put something there that is neither a file nor a folder."""
        self._entries[self._full(path)] = _Entry(None, 0o644, datetime.now(UTC))

    def folder(self, path: str) -> str:
        """The absolute path of a folder that exists. Raises FileMissing, InvalidRequest."""
        full = self._full(path)
        if not self._entry(full).is_dir:
            raise InvalidRequest(f"{full} is not a folder")
        return full

    async def list(self, path: str) -> Sequence[FileInfo]:
        """As the port has it."""
        full = self._full(path)
        if not self._entry(full).is_dir:
            return [self._info(full)]
        return [self._info(one) for one in sorted(self._entries) if one != full and dirname(one) == full]

    async def stat(self, path: str) -> FileInfo:
        """As the port has it."""
        return self._info(self._full(path))

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """As the port has it."""
        content = self._regular(self._full(path))
        for at in range(0, len(content), PIECE):
            yield content[at : at + PIECE]

    async def write(self, path: str, content: AsyncIterable[bytes], *, mode: int | None = None) -> FileInfo:
        """As the port has it."""
        full = self._full(path)
        if full in self._entries:
            self._regular(full)
        data = b"".join([chunk async for chunk in content])
        old = self._entries.get(full)
        if mode is None:
            mode = old.mode if old else 0o644
        self.make_folder(dirname(full))
        self._entries[full] = _Entry(data, mode, datetime.now(UTC))
        return self._info(full)

    async def delete(self, path: str) -> None:
        """As the port has it."""
        full = self._full(path)
        if self._entry(full).is_dir and any(dirname(one) == full != one for one in self._entries):
            raise Conflict(f"the folder {full} is not empty", hint="delete what is in it first")
        del self._entries[full]

    def _full(self, path: str) -> str:
        if "\0" in path or not (path.startswith("/") or f"{path}/".startswith("~/")):
            raise InvalidRequest(f"{path!r} is not a path", hint="give an absolute one, or one below ~/")
        return normpath(self.home + path[1:] if path.startswith("~") else path)

    def _entry(self, full: str) -> _Entry:
        if full not in self._entries:
            raise FileMissing(f"there is no {full} on the machine")
        return self._entries[full]

    def _regular(self, full: str) -> bytes:
        entry = self._entry(full)
        if entry.is_dir:
            raise InvalidRequest(f"{full} is a folder, not a file")
        if entry.content is None:
            raise InvalidRequest(f"{full} is not a regular file")
        return entry.content

    def _info(self, full: str) -> FileInfo:
        entry = self._entry(full)
        return FileInfo(full, len(entry.content or b""), entry.is_dir, entry.mode, entry.modified_at)
