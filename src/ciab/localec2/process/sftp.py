"""A local machine's files by SFTP, as OpenSSH's sftp-server serves them."""

import errno
import functools
import os
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncssh

Told = type[asyncssh.SFTPNoSuchFile | asyncssh.SFTPPermissionDenied | asyncssh.SFTPBadMessage]

ERRORS: Mapping[int, Told] = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP), asyncssh.SFTPNoSuchFile),
    **dict.fromkeys((errno.EPERM, errno.EACCES, errno.EFAULT), asyncssh.SFTPPermissionDenied),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EINVAL), asyncssh.SFTPBadMessage),
}
"""errno_to_portable() of OpenSSH; asyncssh by itself has a failure for many of them."""

CALLS = ("open", "read", "write", "lstat", "stat", "setstat", "remove", "mkdir", "rmdir", "posix_rename")


class Files(asyncssh.SFTPServer):
    """The machine's files; a relative path starts at the home."""

    def __init__(self, chan: asyncssh.SSHServerChannel[bytes], home: str) -> None:
        super().__init__(chan)
        self._home = home.encode()

    def map_path(self, path: bytes) -> bytes:
        return posixpath.join(self._home, path)

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        """As sshd: the target is stored as it was sent."""
        Path(os.fsdecode(self.map_path(newpath))).symlink_to(os.fsdecode(oldpath))


def _told(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def told(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except OSError as exc:
            kind = ERRORS.get(exc.errno or 0)
            if kind is None:
                raise
            raise kind(str(exc.strerror)) from exc

    return told


for _name in CALLS:
    setattr(Files, _name, _told(getattr(Files, _name)))
