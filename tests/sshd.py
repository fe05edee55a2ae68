"""A machine for tests: OpenSSH's own sshd on loopback, with a key pair and a host key of its own.

    with sshd(tmp_path) as machine:
        connection = await Pool().connect(machine.target)

As root it runs in its own mount and pid namespaces with an empty home, so that nothing done inside reaches
the host. Otherwise it has this user's home and processes: clean up what a test makes there.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from ciab.adapters.ssh import keys
from ciab.core.guest import Target
from ciab.core.ids import SandboxId

ISOLATED = os.geteuid() == 0
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
IN_NAMESPACE = 'mount -t tmpfs none /run && mkdir /run/sshd && mount --bind "$0" "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Sshd:
    """A running one."""

    target: Target


@contextmanager
def sshd(folder: Path, *config: str) -> Iterator[Sshd]:
    """Start one with its files in `folder`; further lines for sshd_config come first, so they win."""
    if SSHD is None:
        pytest.skip("no sshd here: install openssh-server")
    user = pwd.getpwuid(os.geteuid())
    host, user_key = keys.mint_key(), keys.mint_key()
    port = _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("host_key", host.private.reveal()),
        ("authorized_keys", user_key.public + "\n"),
        ("sshd_config", "\n".join((*config, *_config(folder, port))) + "\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    command = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
    if ISOLATED:
        home = folder / "home"
        home.mkdir()
        flags = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = ["unshare", *flags, "sh", "-c", IN_NAMESPACE, str(home), user.pw_dir, *command]
    target = Target(SandboxId(str(uuid4())), "127.0.0.1", port, user.pw_name, host.public, user_key.private)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _await_listening(process, port, folder / "log")
        yield Sshd(target)
    finally:
        # unshare ignores SIGTERM; killed, it takes its whole namespace along
        process.send_signal(signal.SIGKILL if ISOLATED else signal.SIGTERM)
        process.wait(10)


def _config(folder: Path, port: int) -> tuple[str, ...]:
    return (
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "Subsystem sftp internal-sftp",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError(f"sshd did not start: {log.read_text()}")
