"""CIAB: coding agents in sandboxes of their own."""

__version__ = "0.1.0"
