"""Files inside a sandbox."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel

from ciab.core import guest
from ciab.core.errors import InvalidRequest
from ciab.schema.values import as_text


class FileInfo(BaseModel):
    """One file or folder. `path` is absolute; `mode` is the permission bits as a number.

    Linux lets names be any bytes: those that are not UTF-8 are shown as U+FFFD, and cannot be asked for.
    """

    path: str
    size: int
    is_dir: bool
    mode: int
    modified_at: datetime

    @classmethod
    def from_core(cls, info: guest.FileInfo) -> Self:
        """As found on the machine."""
        return cls(
            path=as_text(info.path),
            size=info.size,
            is_dir=info.is_dir,
            mode=info.mode,
            modified_at=info.modified_at,
        )


def path_from_url(path: str) -> str:
    """The machine's path for `files/{path}`: absolute without its leading slash, or `~/...`.

    File names may hold anything but NUL: spaces, quotes and newlines too. Raises InvalidRequest.
    """
    if "\0" in path:
        raise InvalidRequest("a path cannot hold a NUL character")
    if len(path.encode("utf-8", "surrogatepass")) > 4096:
        raise InvalidRequest("a path has at most 4096 bytes")
    if not path:
        raise InvalidRequest(
            "the path is empty", hint="name a file, as in files/etc/hostname or files/~/notes"
        )
    if path == "~" or path.startswith("~/"):
        return path if path != "~" else "~/"
    return "/" + path.lstrip("/")


def absolute(path: str) -> str:
    """A path as a user writes it, so that its meaning is clear: relative ones are below the workspace."""
    if path == "~":
        return "~/"
    return path if path.startswith(("/", "~/")) else f"~/workspace/{path}"
