"""What a new machine is told by cloud-init: who may log in, with which host key, on which port, and when to
end itself.

Everything here is done by cloud-init's modules `bootcmd`, `write_files`, `users_groups` and `ssh`, which run
before sshd starts: when SSH lets us in, the machine is ours and set up. Giving the host key pins it and saves
generating one (0.5-1.3 s). `bootcmd` is run at every boot, the rest at the first one.
"""

import json
from importlib import resources

from ciab.core.errors import RuntimeRejected
from ciab.core.machine import KeyPair

MAX_BYTES = 16 * 1024
"""EC2's limit, before base64."""

_DROP_IN = "/etc/ssh/sshd_config.d/10-ciab.conf"


def user_data(host_key: KeyPair, authorized_key: str, user: str, port: int, orphan_secs: int) -> str:
    """The `#cloud-config` of a machine, the same text for the same arguments.

    The machine ends itself when it has heard nothing of its control plane for `orphan_secs`; 0: never.
    JSON is YAML, and its writer always gives the same bytes: a repeated launch must send the same request.
    It holds the machine's private host key. Raises RuntimeRejected when it is larger than EC2 takes.
    """
    config: dict[str, object] = {
        "users": [
            "default",
            {
                "name": user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [authorized_key.strip()],
            },
        ],
        "disable_root": True,
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": host_key.private.reveal(),
            "ed25519_public": host_key.public.strip(),
        },
        "write_files": [
            {"path": _DROP_IN, "owner": "root:root", "permissions": "0644", "content": _drop_in(port)}
        ],
    }
    if orphan_secs:
        config["bootcmd"] = [["python3", "-I", "-S", "-c", _guardian(), user, str(orphan_secs)]]
    text = "#cloud-config\n" + json.dumps(config, indent=1) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise RuntimeRejected(
            f"the machine's user-data has {len(text.encode())} bytes; EC2 takes {MAX_BYTES}",
            hint="shorten what goes into it",
        )
    return text


def _guardian() -> str:
    """The dead-man's switch. Inline, because at the first boot `bootcmd` comes before `write_files`."""
    return resources.files("ciab.guest").joinpath("guardian.py").read_text()


def _drop_in(port: int) -> str:
    # More sessions and parallel logins than sshd's own 10 and 10:30:100, because everything of a sandbox
    # goes through one connection; a dead connection and its forwarded sockets make room after 45 s.
    lines = [
        "# written by CIAB at the first boot",
        # Here and not as `ssh_pwauth: false`: for that cloud-init restarts sshd when it is already up,
        # and whoever connects just then is refused. sshd takes the first value; 10- comes before 50-.
        "PasswordAuthentication no",
        "MaxSessions 64",
        "MaxStartups 64:30:128",
        "ClientAliveInterval 15",
        "ClientAliveCountMax 3",
        "StreamLocalBindUnlink yes",
    ]
    if port != 22:
        lines.insert(1, f"Port {port}")
    return "\n".join(lines) + "\n"
