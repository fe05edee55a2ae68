"""What the first process of a machine is told: one line of JSON on its stdin.

It holds the host's private key, so it travels by that pipe only: not in arguments, environment or files.
"""

import base64
import json
import os
import shlex
from dataclasses import asdict, dataclass, field
from typing import Any

REBOOT = 133
"""The exit code with which a machine's first process asks to be booted again."""

BAD_BOOT = 70
"""Its exit code when it could not bring the machine up; the console says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the machine as its SSH server sees it. `home` is a path inside the machine."""

    name: str
    home: str
    shell: str
    authorized_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BootFile:
    path: str
    content: str = field(repr=False)
    """base64"""
    mode: int

    def data(self) -> bytes:
        return base64.b64decode(self.content)


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of one machine. Paths are as they are inside it."""

    instance_id: str
    hostname: str
    addresses: tuple[str, ...]
    port: int
    first: bool
    """The disk is new: home files are written, runcmd runs."""
    isolated: bool
    etc: str
    var: str
    shims: str
    """The folder with sudo, poweroff and the like; first in PATH."""
    resolv_conf: str
    logins: tuple[Login, ...]
    host_keys: tuple[str, ...] = field(repr=False)
    files: tuple[BootFile, ...] = field(repr=False)
    boot_commands: tuple[str | tuple[str, ...], ...] = field(repr=False)
    commands: tuple[str | tuple[str, ...], ...] = field(repr=False)
    max_sessions: int
    client_alive_interval: int
    client_alive_count_max: int
    accept_env: tuple[str, ...]
    stream_local_bind_unlink: bool

    def script(self, commands: tuple[str | tuple[str, ...], ...]) -> str:
        """One text for the shell, as cloud-init makes of such commands."""
        return "\n".join(c if isinstance(c, str) else shlex.join(c) for c in commands)

    def path(self) -> str:
        """PATH of every process of the machine."""
        return f"{self.shims}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def environment(self, login: Login) -> dict[str, str]:
        """Of a login, asked for in a child of the first process.

        A machine that shares the host's files and sees its processes says what is its own: CIAB's programs
        on the machine know these two names.
        """
        own = {"CIAB_FOLDER": f"{self.var}/lib/ciab", "CIAB_FIRST_PROCESS": str(os.getppid())}
        return ({} if self.isolated else own) | {
            "HOME": login.home,
            "USER": login.name,
            "LOGNAME": login.name,
            "SHELL": login.shell,
            "PATH": self.path(),
            "LANG": "C.UTF-8",
        }

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Boot":
        values: dict[str, Any] = json.loads(line)
        values["logins"] = tuple(
            Login(**{**login, "authorized_keys": tuple(login["authorized_keys"])})
            for login in values["logins"]
        )
        values["files"] = tuple(BootFile(**entry) for entry in values["files"])
        for name in ("boot_commands", "commands"):
            values[name] = tuple(c if isinstance(c, str) else tuple(c) for c in values[name])
        for name in ("addresses", "host_keys", "accept_env"):
            values[name] = tuple(values[name])
        return cls(**values)
