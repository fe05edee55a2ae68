"""What a new machine is told by cloud-init: who may log in, with which host key, on which port.

Everything here is done by cloud-init's modules `write_files`, `users_groups` and `ssh`, which run before
sshd starts: when SSH lets us in, the machine is ours and set up. Giving the host key pins it and saves
generating one (0.5-1.3 s).
"""

import json

from ciab.core.errors import RuntimeRejected
from ciab.core.machine import SandboxKeys

MAX_BYTES = 16 * 1024
"""EC2's limit, before base64."""

_DROP_IN = "/etc/ssh/sshd_config.d/10-ciab.conf"


def user_data(keys: SandboxKeys, user: str, port: int) -> str:
    """The `#cloud-config` of a machine, the same text for the same arguments.

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
                "ssh_authorized_keys": [keys.user.public.strip()],
            },
        ],
        "disable_root": True,
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": keys.host.private.reveal(),
            "ed25519_public": keys.host.public.strip(),
        },
        "write_files": [
            {"path": _DROP_IN, "owner": "root:root", "permissions": "0644", "content": _drop_in(port)}
        ],
    }
    text = "#cloud-config\n" + json.dumps(config, indent=1) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise RuntimeRejected(
            f"the machine's user-data has {len(text.encode())} bytes; EC2 takes {MAX_BYTES}",
            hint="shorten what goes into it",
        )
    return text


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
