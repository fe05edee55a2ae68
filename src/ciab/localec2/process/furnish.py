"""Writes a machine's files. Runs inside the machine, as its first act.

Inside, because a process of the machine may have left symbolic links in its home: followed from
outside they would lead into the host's files.
"""

import os
import shlex
import sys
from pathlib import Path

from ciab.localec2.process.boot import Boot, BootFile, Login
from ciab.localec2.process.shims import shim_texts

_PROMPT = "[ -n \"${PS1-}\" ] && PS1='\\u@\\h:\\w\\$ '\ntrue\n"

UID = 1000
"""Of every user of an isolated machine: a namespace made without root has just one."""


OWN_SBIN = "/run/ciab/sbin"
"""Where an isolated machine finds the programs of a host whose /sbin is not a link into /usr."""


def furnish(boot: Boot) -> list[str]:
    """Make etc, the shims, homes and authorized_keys. Raises OSError.

    Returns what could not be written because of what the machine's own processes have made of their
    home: as on any machine that is no reason not to boot.
    """
    os.umask(0o022)
    if boot.isolated:
        for folder in ("/tmp", "/var/tmp"):  # noqa: S108 - the machine's own, being made here
            Path(folder).mkdir(exist_ok=True)
            Path(folder).chmod(0o1777)
        _write_etc(boot)
    _write_shims(boot)
    if boot.isolated:
        _link_sbin(boot)
    problems = []
    for login in boot.logins:
        try:
            _write_home(boot, login)
        except (OSError, UnicodeDecodeError) as exc:
            problems.append(f"cannot prepare {login.home}: {exc}")
    return problems


def write_files(boot: Boot) -> list[str]:
    """The user-data's write_files; what could not be written, as `furnish` tells it."""
    problems = []
    for file in boot.files:
        try:
            _write_file(boot, file)
        except OSError as exc:
            problems.append(f"cannot write {file.path}: {exc}")
    return problems


def _write_etc(boot: Boot) -> None:
    lines = [f"{login.name}:x:{UID}:{UID}::{login.home}:{login.shell}" for login in boot.logins]
    lines += [
        "root:x:0:0:root:/root:/usr/sbin/nologin",
        "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin",
    ]
    hosts = f"127.0.0.1 localhost\n{boot.addresses[0]} {boot.hostname}\n"
    texts = {
        "passwd": "\n".join(lines) + "\n",
        "group": f"{boot.logins[0].name}:x:{UID}:\nroot:x:0:\nnogroup:x:65534:\n",
        "hosts": hosts,
        "hostname": boot.hostname + "\n",
        "resolv.conf": boot.resolv_conf,
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "profile": f"export PATH={shlex.quote(boot.path())}\n{_PROMPT}",
    }
    for name, text in texts.items():
        _write(Path(boot.etc, name), text.encode(), 0o644)


def _write_shims(boot: Boot) -> None:
    for name, text in shim_texts(boot.shims, os.getpid()).items():
        _write(Path(boot.shims, name), text.encode(), 0o755)
    if not Path("/usr/bin/python3").exists():  # every machine that cloud-init boots has one
        interpreter = getattr(sys, "_base_executable", sys.executable)
        text = f'#!/bin/sh\nexec {shlex.quote(interpreter)} "$@"\n'
        _write(Path(boot.shims, "python3"), text.encode(), 0o755)


def _link_sbin(boot: Boot) -> None:
    """Daemons call `/sbin/shutdown` by this path: here it is the shim, and the rest is the host's."""
    own = {path.name: path for path in Path(boot.shims).iterdir()}
    host = Path(OWN_SBIN if Path(OWN_SBIN).is_dir() else "/usr/sbin")
    for name in {path.name for path in host.iterdir()} | own.keys():
        Path("/sbin", name).symlink_to(own.get(name, host / name))


def _write_home(boot: Boot, login: Login) -> None:
    home = Path(login.home)
    home.mkdir(mode=0o750, parents=True, exist_ok=True)
    if boot.first:
        # a login shell reads the host's /etc/profile where the machine has none of its own
        profile = f'PATH={shlex.quote(boot.shims)}:"$HOME/.local/bin:$PATH"\n'
        _write(home / ".profile", profile.encode(), 0o644)
    file = home / ".ssh" / "authorized_keys"
    present = file.read_text().splitlines() if file.exists() else []
    missing = [key for key in login.authorized_keys if key not in present]
    if missing:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        _write(file, "\n".join([*present, *missing, ""]).encode(), 0o600)


def _write_file(boot: Boot, file: BootFile) -> None:
    """Below etc at each boot, as etc is new then; below a home once."""
    if file.path.startswith("/etc/"):
        _write(Path(boot.etc, file.path.removeprefix("/etc/")), file.data(), file.mode)
        return
    for login in boot.logins:
        home = f"/home/{login.name}/"
        if boot.first and file.path.startswith(home):
            _write(Path(login.home, file.path.removeprefix(home)), file.data(), file.mode)


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
