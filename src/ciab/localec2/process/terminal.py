"""Pseudo-terminals for SSH sessions: size and modes as the client asked (RFC 4254, section 8)."""

import fcntl
import os
import struct
import termios
from collections.abc import Mapping

_CHARACTERS = {1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2"}
_CHARACTERS |= {8: "VSTART", 9: "VSTOP", 10: "VSUSP", 12: "VREPRINT", 13: "VWERASE", 14: "VLNEXT"}
_INPUT = {30: "IGNPAR", 31: "PARMRK", 32: "INPCK", 33: "ISTRIP", 34: "INLCR", 35: "IGNCR", 36: "ICRNL"}
_INPUT |= {38: "IXON", 39: "IXANY", 40: "IXOFF", 41: "IMAXBEL"}
_LOCAL = {50: "ISIG", 51: "ICANON", 53: "ECHO", 54: "ECHOE", 55: "ECHOK", 56: "ECHONL", 57: "NOFLSH"}
_LOCAL |= {58: "TOSTOP", 60: "ECHOCTL", 61: "ECHOKE"}
_OUTPUT = {70: "OPOST", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}
_UNSET_CHARACTER = 255


def open_terminal(size: tuple[int, int, int, int], modes: Mapping[int, int]) -> tuple[int, int]:
    """A master that does not block and a slave, both to be closed by the caller."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    resize(master, *size)
    attributes = termios.tcgetattr(slave)
    for place, table in ((0, _INPUT), (1, _OUTPUT), (3, _LOCAL)):
        for opcode, name in table.items():
            flag = getattr(termios, name, 0)
            if opcode in modes:
                attributes[place] = attributes[place] | flag if modes[opcode] else attributes[place] & ~flag
    for opcode, name in _CHARACTERS.items():
        if opcode in modes:
            value = modes[opcode]
            attributes[6][getattr(termios, name)] = (
                b"\0" if value == _UNSET_CHARACTER else bytes([value & 0xFF])
            )
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    return master, slave


def resize(master: int, columns: int, rows: int, width: int, height: int) -> None:
    """Set the size; the kernel sends SIGWINCH. Pixels may be 0: not known."""
    size = struct.pack("HHHH", *(min(value, 0xFFFF) for value in (rows, columns, width, height)))
    fcntl.ioctl(master, termios.TIOCSWINSZ, size)
