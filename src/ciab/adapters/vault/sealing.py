"""Sealing: AES-256-GCM (NIST SP 800-38D) with a fresh nonce each, bound to the row and column it stands in.

A sealed text is one version byte (1), the 12 bytes of the nonce, and the ciphertext with its 16-byte tag.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ciab.adapters.vault.key import Key
from ciab.core.errors import ConfigError
from ciab.core.secret import Secret

_VERSION = b"\x01"
_NONCE_BYTES = 12


class AesGcmVault:
    """The port Vault. Seals with the first key and opens with any: more than one while keys are rotated."""

    def __init__(self, *keys: Key) -> None:
        self._ciphers = [AESGCM(key.material) for key in keys]

    def seal(self, text: Secret, owner: str, column: str) -> bytes:
        """As the port has it."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[0].encrypt(nonce, text.reveal().encode(), _bound_to(owner, column))
        return _VERSION + nonce + sealed

    def open(self, sealed: bytes, owner: str, column: str) -> Secret:
        """As the port has it."""
        if sealed[:1] != _VERSION:
            raise ConfigError(
                f"{column} of {owner} is sealed in a way that this version does not know",
                hint="the database is damaged, or a newer version of ciab wrote it",
            )
        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        for cipher in self._ciphers:
            try:
                return Secret(cipher.decrypt(nonce, text, _bound_to(owner, column)).decode())
            except (InvalidTag, ValueError):
                continue
        raise ConfigError(
            f"{column} of {owner} does not open with this encryption key",
            hint="give the key that the database was made with; if it is the right one, the row was altered",
        )


def _bound_to(owner: str, column: str) -> bytes:
    # the length keeps ("ab", "c") and ("a", "bc") apart
    return f"ciab:{len(owner)}:{owner}:{column}".encode()
