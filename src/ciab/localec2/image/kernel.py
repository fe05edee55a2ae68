"""The Linux system calls that image machines need and Python 3.11 does not offer. All raise OSError."""

import ctypes
import os
import socket

NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWPID = 0x20000000
NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move this process into new namespaces (for NEWPID: its children)."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move this thread into the namespace of that kind that `fd` refers to."""
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _check(result, f"mount {kind or source}", target)


def detach(target: str) -> None:
    """Unmount now, even if something still uses it."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), "umount", target)


def pivot_root(root: str) -> None:
    """Make `root`, a mount point, this mount namespace's root and forget the old one."""
    os.chdir(root)
    number = PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root", root)
    detach(".")
    os.chdir("/")


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` to this process when the thread that forked it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "prctl")


def drop_capability(number: int) -> None:
    """No process from here on can have this capability, root included."""
    _check(_libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0), "prctl")


def socket_in(namespace: int, family: int, kind: int, protocol: int) -> socket.socket:
    """A socket that lives in the network namespace `namespace` (a descriptor) refers to.

    Two system calls of some microseconds: nothing else runs on this thread in between.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace, NEWNET)
        try:
            return socket.socket(family, kind, protocol)
        finally:
            setns(own, NEWNET)
    finally:
        os.close(own)


def _check(result: int, what: str, path: str | None = None) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}", path)
