"""`ciab doctor`: what a server would meet with this configuration, found out without changing anything."""

from ciab.server.doctor.examining import examine

__all__ = ["examine"]
