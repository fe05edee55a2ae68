"""Key pairs: fresh ones, with nothing in them about who made them, and the operator's own by name."""

import asyncio
import os
import re
import stat
from pathlib import Path

import asyncssh

from ciab.core.errors import ConfigError
from ciab.core.machine import KeyPair
from ciab.core.secret import Secret

FOLDER = Path("~/.ssh")
_LARGEST = 64 * 1024
"""Bytes; a private key has a few thousand at most."""


def mint_key() -> KeyPair:
    """A fresh Ed25519 pair: one lets us in, another one proves that the machine is ours."""
    return _pair(asyncssh.generate_private_key("ssh-ed25519"))


async def named_key(name: str, folder: Path = FOLDER) -> KeyPair:
    """The pair of an AWS key pair, from its private key at `folder`/<name>.pem.

    Raises ConfigError, with the file named and none of its text told, when the file is not there, is
    another's, can be read by others, or holds no private key that can be used without a passphrase.
    """
    if not name.isprintable() or not name or re.search(r"[/\\\s]|^\.", name):
        raise ConfigError(
            f"key_pair_name: {name!r} cannot be the name of a file",
            hint="give the name of the key pair in EC2; its private key is ~/.ssh/<name>.pem",
        )
    path, text = await asyncio.to_thread(_read, folder, name)
    try:
        key = asyncssh.import_private_key(text)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        if "assphrase" in str(error):
            raise ConfigError(
                f"the key in {path} is encrypted, and nobody is there to type its passphrase",
                hint=f"remove the passphrase: ssh-keygen -p -f {path}",
            ) from None
        raise ConfigError(
            f"{path} holds no private key that can be read",
            hint="it must be the .pem file that EC2 gave when the key pair was made, or OpenSSH's own format",
        ) from None
    return _pair(key)


def _read(folder: Path, name: str) -> tuple[Path, bytes]:
    path = folder.expanduser() / f"{name}.pem"
    try:
        # what is opened is what is looked at; a pipe with that name must not hold us up
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"could not read the private key of key_pair_name, {path}: {error.strerror}",
            hint="put the key pair's private key there, or leave key_pair_name empty",
        ) from None
    try:
        _check(path, os.fstat(opened))
        return path, os.read(opened, _LARGEST)
    finally:
        os.close(opened)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(
            f"{path} is no file", hint="it must be the private key of the key pair in key_pair_name"
        )
    if found.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to another user", hint=f"make it yours: sudo chown {os.geteuid()} {path}"
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            f"{path} can be read or changed by other users (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"chmod 600 {path}",
        )


def _pair(key: asyncssh.SSHKey) -> KeyPair:
    key.set_comment("ciab")
    return KeyPair(
        public=key.export_public_key("openssh").decode().strip(),
        private=Secret(key.export_private_key("openssh").decode()),
    )
