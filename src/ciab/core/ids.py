"""Identifiers: UUIDs as text, one type each, the same in API, database, tags and logs."""

from typing import NewType

SandboxId = NewType("SandboxId", str)
OwnerId = NewType("OwnerId", str)
"""This installation; on every machine of its own, so that two installations in one account never meet."""
