"""The peer: OpenSSH's own client with ControlMaster, so that each command shares one login."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.sshd import Sshd


@dataclass(frozen=True)
class OpenSsh:
    """Programs that use the open connection."""

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
def control_master(machine: Sshd) -> Iterator[OpenSsh]:
    """Log in once, by nothing but the machine's own keys."""
    target = machine.target
    with tempfile.TemporaryDirectory() as folder:
        options = (
            *("-F", "none", "-o", f"ControlPath={folder}/control", "-i", str(machine.user_key_file)),
            *("-o", f"Port={target.port}", "-o", f"User={target.user}", "-o", "IdentityAgent=none"),
            *("-o", f"UserKnownHostsFile={machine.known_hosts_file}", "-o", "IdentitiesOnly=yes"),
        )
        master = ["ssh", *options]
        subprocess.run([*master, "-o", "ControlMaster=yes", "-N", "-f", target.host], check=True)
        try:
            yield OpenSsh(("-o", "ControlMaster=no", *options), target.host)
        finally:
            subprocess.run([*master, "-q", "-O", "exit", target.host], check=True, stderr=subprocess.DEVNULL)
