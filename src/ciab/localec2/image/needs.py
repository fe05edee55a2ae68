"""What a host must have, and be set to, for image machines."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ciab.localec2.image import kernel
from ciab.localec2.image.cgroup import own_cgroup
from ciab.localec2.image.listening import can_ask

log = logging.getLogger(__name__)

_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork")
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_INSTANCES = 8192


def missing() -> list[str]:
    """What this host lacks to run such machines, one sentence each; empty: they can run. Blocking."""
    if sys.platform != "linux":
        return ["image machines need Linux"]
    if os.geteuid() != 0:
        return ["image machines need root, for namespaces, overlayfs and network devices"]
    lacks = []
    if os.uname().machine not in kernel.PIVOT_ROOT:
        lacks.append(f"image machines are not made for {os.uname().machine} processors")
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        lacks.append("the kernel has no overlayfs: `modprobe overlay`")
    if own_cgroup() is None:
        lacks.append("no cgroup v2 is mounted")
    if not can_ask():
        lacks.append("the kernel does not say who listens: `modprobe inet_diag tcp_diag`")
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux")):
        if shutil.which(program) is None:
            lacks.append(f"the program `{program}` is not installed: `apt install {package}`")
    return lacks or _refused()


def raise_inotify_limit() -> None:
    """systemd takes several inotify instances; the usual 128 are used up by some thirty machines."""
    if int(_INOTIFY.read_text()) < _INOTIFY_INSTANCES:
        _INOTIFY.write_text(str(_INOTIFY_INSTANCES))
        log.info("inotify limit raised", extra={"action": "inotify_raised", "instances": _INOTIFY_INSTANCES})


def _refused() -> list[str]:
    """Root is not enough in a container or under a security module: try the namespaces themselves."""
    tried = subprocess.run(["unshare", *_NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return []
    return [f"new namespaces are refused here, to root too ({tried.stderr.strip()}): leave the container"]
