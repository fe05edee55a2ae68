"""The peer: OpenSSH's own client with ControlMaster, so that each command shares one login."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ciab.core.guest import Target


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
def control_master(target: Target) -> Iterator[OpenSsh]:
    """Log in once, by nothing but the machine's own keys."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key, known_hosts = folder / "key", folder / "known_hosts"
        key.touch(0o600)
        key.write_text(target.user_key.reveal())
        known_hosts.write_text(f"[{target.host}]:{target.port} {target.host_key}\n")
        options = (
            *(
                "-F",
                "none",
                "-o",
                f"ControlPath={folder}/control",
                "-i",
                str(key),
                "-o",
                "IdentitiesOnly=yes",
            ),
            *("-o", f"Port={target.port}", "-o", f"User={target.user}", "-o", "IdentityAgent=none"),
            *("-o", f"UserKnownHostsFile={known_hosts}"),
        )
        master = ["ssh", *options]
        subprocess.run([*master, "-o", "ControlMaster=yes", "-N", "-f", target.host], check=True)
        try:
            yield OpenSsh(("-o", "ControlMaster=no", *options), target.host)
        finally:
            subprocess.run([*master, "-q", "-O", "exit", target.host], check=True, stderr=subprocess.DEVNULL)
