"""Key pairs of a sandbox: Ed25519, in OpenSSH's format, with nothing in them about who made them."""

import asyncssh

from ciab.core.machine import KeyPair, SandboxKeys
from ciab.core.secret import Secret


def mint() -> SandboxKeys:
    """A fresh pair that lets us in and a fresh one by which the machine proves that it is ours."""
    return SandboxKeys(user=_pair(), host=_pair())


def _pair() -> KeyPair:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="ciab")
    return KeyPair(
        public=key.export_public_key("openssh").decode().strip(),
        private=Secret(key.export_private_key("openssh").decode()),
    )
