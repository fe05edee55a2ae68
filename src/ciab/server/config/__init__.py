"""Loading `config.toml`: where it is found, what overrides it, and what to say when it is wrong."""

from ciab.server.config.loading import COMMAND_LINE, Loaded, load

__all__ = ["COMMAND_LINE", "Loaded", "load"]
