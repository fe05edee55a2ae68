"""What the first process of an image machine does before it becomes systemd: its file systems and its limits.

It runs in new pid, mount, uts, ipc and cgroup namespaces. Every mount is made inside the mount namespace
and ends with it, so that none can be left behind on the host.
"""

import os
import socket
import stat
import uuid
from pathlib import Path
from typing import NoReturn

from ciab.localec2.image import kernel

_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
    "core": "/proc/kcore",
}
# Host-wide switches: a machine may read them, not set them.
_READ_ONLY = ("proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus")
# The capabilities that act on the host as a whole: SYS_MODULE, SYS_RAWIO, SYS_TIME, MKNOD (a node of the
# host's disk), AUDIT_CONTROL, MAC_OVERRIDE, MAC_ADMIN, SYSLOG, WAKE_ALARM, BLOCK_SUSPEND.
_DROPPED = (16, 17, 25, 27, 30, 32, 33, 34, 35, 36)
_ENVIRONMENT = {
    "container": "ciab",  # systemd leaves alone what belongs to the host: udev, clocks, kernel modules
    "TERM": "dumb",  # a console without colour codes
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


def become_init(rootfs: str, folder: Path, hostname: str, hypervisor_uuid: str, console: str) -> NoReturn:
    """Enter the machine's own root file system and run its init. Raises OSError if that cannot be."""
    os.umask(0o022)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    root = _disk(rootfs, folder)
    _devices(root, console)
    kernel.mount("proc", f"{root}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    for path in (f"{root}/{path}" for path in _READ_ONLY):
        if Path(path).exists():  # which of them there are depends on the kernel
            _read_only(path)
    _boot_id(root, folder)
    _sys(root, hypervisor_uuid)
    socket.sethostname(hostname)
    kernel.pivot_root(root)
    for capability in _DROPPED:
        kernel.drop_capability(capability)
    terminal = os.open("/dev/console", os.O_RDWR)
    for stream in range(3):
        os.dup2(terminal, stream)
    os.execve("/sbin/init", ["/sbin/init", "--show-status=1"], _ENVIRONMENT)  # noqa: S606 - a shell has no place here


def _disk(rootfs: str, folder: Path) -> str:
    """The image underneath, the instance's own folder on top: what it writes outlives stop and start."""
    for name in ("disk", "work", "root"):
        path = folder / name
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    root = str(folder / "root")
    options = f"lowerdir={rootfs},upperdir={folder / 'disk'},workdir={folder / 'work'}"
    kernel.mount("overlay", root, "overlay", data=options)
    return root


def _devices(root: str, console: str) -> None:
    kernel.mount("tmpfs", f"{root}/dev", "tmpfs", kernel.MS_NOSUID, "mode=755,size=1m")
    mask = os.umask(0)
    for name, (major, minor) in _NODES.items():
        os.mknod(f"{root}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    os.umask(mask)
    for name, target in _LINKS.items():
        Path(root, "dev", name).symlink_to(target)
    Path(root, "dev/pts").mkdir(mode=0o755)
    options = "newinstance,ptmxmode=0666,mode=620,gid=5"
    kernel.mount("devpts", f"{root}/dev/pts", "devpts", kernel.MS_NOSUID | kernel.MS_NOEXEC, options)
    Path(root, "dev/console").touch()
    kernel.mount(console, f"{root}/dev/console", flags=kernel.MS_BIND)


def _boot_id(root: str, folder: Path) -> None:
    """Another one for every boot: who finds another than before knows that its processes are gone."""
    own = folder / "boot_id"
    own.write_text(f"{uuid.uuid4()}\n")
    kernel.mount(str(own), f"{root}/proc/sys/kernel/random/boot_id", flags=kernel.MS_BIND)


def _sys(root: str, hypervisor_uuid: str) -> None:
    """sysfs, read-only, with the file by which cloud-init knows EC2.

    That file is in sysfs on Xen only and sysfs takes no new folders, so the entries are bound one by one.
    """
    kernel.mount("tmpfs", f"{root}/sys", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=64k")
    whole = Path(root, "sys/.whole")
    whole.mkdir()
    kernel.mount("sysfs", str(whole), "sysfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    for entry in sorted(whole.iterdir()):
        if entry.name != "hypervisor":
            shown = Path(root, "sys", entry.name)
            shown.mkdir()
            kernel.mount(str(entry), str(shown), flags=kernel.MS_BIND)
            _read_only(str(shown))
    kernel.detach(str(whole))
    whole.rmdir()
    hypervisor = Path(root, "sys/hypervisor")
    hypervisor.mkdir()
    (hypervisor / "uuid").write_text(f"{hypervisor_uuid}\n")
    _remount_read_only(f"{root}/sys", kernel.MS_NOSUID | kernel.MS_NODEV)
    kernel.mount("cgroup2", f"{root}/sys/fs/cgroup", "cgroup2", kernel.MS_NOSUID | kernel.MS_NODEV)


def _read_only(path: str) -> None:
    kernel.mount(path, path, flags=kernel.MS_BIND | kernel.MS_REC)
    _remount_read_only(path, kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def _remount_read_only(path: str, flags: int) -> None:
    kernel.mount("none", path, flags=kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | flags)
