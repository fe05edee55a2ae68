"""The peer: OpenSSH's own programs, by nothing but the keys they are given."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ciab.core.guest import Target


@dataclass(frozen=True)
class OpenSsh:
    """Programs with the options that name one machine, and perhaps one open connection to it."""

    options: tuple[str, ...]
    host: str

    def ssh(self, *command: str) -> None:
        """Run one command and wait for its end."""
        subprocess.run(["ssh", *self.options, self.host, *command], check=True, stdin=subprocess.DEVNULL)

    def sftp(self, batch: str) -> None:
        """Run sftp's own commands."""
        subprocess.run(
            ["sftp", "-q", *self.options, "-b", "-", self.host],
            check=True,
            input=batch.encode(),
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def open_ssh(target: Target) -> Iterator[OpenSsh]:
    """Each program makes a connection of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield OpenSsh((*_options(target, Path(folder)), "-o", "ControlPath=none"), target.host)


@contextmanager
def control_master(target: Target) -> Iterator[OpenSsh]:
    """All programs share one connection, which is open already."""
    with tempfile.TemporaryDirectory() as folder:
        options = (*_options(target, Path(folder)), "-o", f"ControlPath={folder}/control")
        master = ["ssh", *options]
        subprocess.run([*master, "-o", "ControlMaster=yes", "-N", "-f", target.host], check=True)
        try:
            yield OpenSsh(("-o", "ControlMaster=no", *options), target.host)
        finally:
            subprocess.run([*master, "-q", "-O", "exit", target.host], check=True, stderr=subprocess.DEVNULL)


def _options(target: Target, folder: Path) -> tuple[str, ...]:
    """Nothing of the user's SSH configuration, agent or known hosts."""
    key, known_hosts = folder / "key", folder / "known_hosts"
    key.touch(0o600)
    key.write_text(target.user_key.reveal())
    name = target.host if target.port == 22 else f"[{target.host}]:{target.port}"
    known_hosts.write_text(f"{name} {target.host_key}\n")
    return (
        *("-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
        *("-o", f"Port={target.port}", "-o", f"User={target.user}"),
        *("-o", f"UserKnownHostsFile={known_hosts}", "-o", "GlobalKnownHostsFile=none"),
    )
