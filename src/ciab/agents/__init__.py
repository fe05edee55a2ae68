"""The coding agents that a sandbox can be made for, one file each. Pure: no I/O, no framework."""

AVAILABLE = frozenset({"command"})
"""Names of the providers that this release runs. `command` is a machine without an agent of ours."""
