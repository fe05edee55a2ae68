"""Encryption of secrets at rest: AES-256-GCM with a key from the environment or a key file."""

from ciab.adapters.vault.key import Key, load_keys, parse_key, read_key_file, replace_key_file
from ciab.adapters.vault.sealing import AesGcmVault

__all__ = ["AesGcmVault", "Key", "load_keys", "parse_key", "read_key_file", "replace_key_file"]
