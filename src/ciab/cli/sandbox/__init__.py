"""`ciab sandbox`: make, look at, use and end sandboxes."""

from ciab.cli.sandbox import create, execute, look, moves, recover, ssh
from ciab.cli.sandbox.app import app

__all__ = ["app", "create", "execute", "look", "moves", "recover", "ssh"]
