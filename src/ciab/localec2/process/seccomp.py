"""A system call filter for machines without namespaces: what must not reach beyond them.

Without bubblewrap `kill -9 -1` inside would end every process of the operator, and a shell's
built-in kill cannot be shadowed by a program in PATH. A seccomp filter needs no privilege (with
no_new_privs), is inherited by every child and cannot be taken off. It refuses with EPERM
signals to -1 and to given processes, and the system call `reboot`. Numbers: Linux's
asm/unistd.h for x86_64 and for arm64; the filter's form: linux/filter.h, linux/seccomp.h.
"""

import ctypes
import os
import platform
import struct
from dataclasses import dataclass

from ciab.localec2.host import MachineError

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_PR_CAPBSET_DROP, _LAST_CAPABILITY, _CAPABILITY_VERSION_3 = 24, 63, 0x20080522
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENT_0, _OFFSET_ARGUMENT_1 = 0, 4, 16, 24


@dataclass(frozen=True, slots=True)
class Calls:
    """System call numbers of one kind of machine, and how the kernel names it."""

    arch: int
    kill: int
    others: tuple[int, ...]
    """tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo: the first argument names a process too."""
    reboot: int


MACHINES = {
    "x86_64": Calls(0xC000003E, 62, (200, 234, 129, 297), 169),
    "aarch64": Calls(0xC00000B7, 129, (130, 131, 138, 240), 142),
}


def filter_program(
    calls: Calls, first_pid: int, first_signals: tuple[int, ...], outside: tuple[int, ...]
) -> bytes:
    """The filter's instructions, each (code, jump if true, jump if false, value)."""
    protected = [-1, *outside, *(-pid for pid in outside), -first_pid]
    deny = [(_RETURN, 0, 0, _ERRNO | _EPERM)]
    allow = [(_RETURN, 0, 0, _ALLOW)]
    # to the first process: only the signals that the shims send it
    first = [(_LOAD, 0, 0, _OFFSET_ARGUMENT_1)]
    for place, number in enumerate(first_signals):
        first.append((_JUMP_EQUAL, len(first_signals) - place, 0, number))
    first += deny + allow
    target = [(_LOAD, 0, 0, _OFFSET_ARGUMENT_0), (_JUMP_EQUAL, len(protected) + 2, 0, first_pid)]
    for place, pid in enumerate(protected):
        target.append((_JUMP_EQUAL, len(protected) - place, 0, pid & 0xFFFFFFFF))
    target += allow + deny + first
    # `kill` and its kin fall through to `target`
    signalling = (calls.kill, *calls.others)
    choose = [(_JUMP_EQUAL, len(signalling) + 1, 0, calls.reboot)]
    for place, number in enumerate(signalling):
        choose.append((_JUMP_EQUAL, len(signalling) - place + 1, 0, number))
    choose += allow + deny
    arch = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_JUMP_EQUAL, 1, 0, calls.arch),
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),  # another ABI has other numbers
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_GREATER_EQUAL, 0, 1, 0x40000000),  # x32
        (_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in arch + choose + target)


def confine(first_pid: int, first_signals: tuple[int, ...], outside: tuple[int, ...]) -> None:
    """Put the filter on this process and all it will start, and take root's capabilities from them.

    Raises MachineError where it cannot be had.
    """
    calls = MACHINES.get(platform.machine())
    if calls is None:
        raise MachineError(
            f"Without bubblewrap a local machine needs x86_64 or aarch64, not {platform.machine()}: "
            "install bubblewrap."
        )
    program = filter_program(calls, first_pid, first_signals, outside)
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        _drop_capabilities(libc)
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header
    ):
        reason = os.strerror(ctypes.get_errno())
        raise MachineError(f"The kernel refused the system call filter ({reason}): install bubblewrap.")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Root keeps its name only: it owns files, but cannot reach other users' processes, reboot or mount."""
    for number in range(_LAST_CAPABILITY + 1):
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)  # those that this kernel does not have are refused
    if libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)):
        raise MachineError("Root's capabilities cannot be dropped here: run the region as an ordinary user.")
