"""The root file system of image machines: `python -m ciab.localec2.image.rootfs` makes it, prints its path.

A Debian as EC2's images are: systemd, cloud-init with the Ec2 data source only and the default user `ubuntu`,
OpenSSH's server; no host keys and no machine id. Packages come from this host's own apt sources.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "bookworm"
_PACKAGES = (
    *("systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "cloud-init", "sudo"),
    *("ca-certificates", "curl", "git", "iproute2", "procps", "python3"),
)
_FILES = {
    "etc/cloud/cloud.cfg.d/99_ciab.cfg": """\
datasource_list: [Ec2]
network: {config: disabled}
manage_etc_hosts: localhost
locale: C.UTF-8
system_info:
  default_user:
    name: ubuntu
    gecos: Ubuntu
    groups: [adm, sudo]
    lock_passwd: true
    shell: /bin/bash
    sudo: ["ALL=(ALL) NOPASSWD:ALL"]
""",
    # A process that ignores SIGTERM must not hold a shutdown up for the usual 90 s.
    "etc/systemd/system.conf.d/ciab.conf": "[Manager]\nDefaultTimeoutStopSec=5s\n",
    "etc/hostname": "",
    "etc/machine-id": "",
}
# What an image does not have, and the DHCP client: without a server it holds cloud-init up for a minute.
_REMOVED = ("etc/ssh/ssh_host_*", "var/lib/dbus/machine-id", "usr/sbin/dhclient", "var/cache/apt/*.bin")
# Consoles nobody looks at, and timers that want the network.
_MASKED = (
    *("console-getty.service", "getty@.service", "getty.target", "networking.service"),
    *(
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "e2scrub_all.timer",
        "e2scrub_reap.service",
        "fstrim.timer",
    ),
)


def missing() -> list[str]:
    """What this host lacks to build it, one sentence each; empty if it is built or can be."""
    if path().is_dir():
        return []
    lacks = []
    if os.geteuid() != 0:
        lacks.append("building the machines' root file system needs root")
    if shutil.which("mmdebstrap") is None:
        lacks.append("the program `mmdebstrap` is not installed: `apt install mmdebstrap`")
    if not _sources():
        lacks.append(f"no apt sources of Debian {SUITE} in /etc/apt: they say where its packages come from")
    return lacks


def path() -> Path:
    """Where the root file system of this recipe is, or will be."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    recipe = repr((SUITE, _PACKAGES, sorted(_FILES.items()), _REMOVED, _MASKED))
    return Path(cache, "ciab", "rootfs", hashlib.sha256(recipe.encode()).hexdigest()[:16])


def ensure() -> Path:
    """Build it unless it is there, which takes about a minute and 400 MB; its path.

    Blocking. Of several at once one builds and the others wait. Raises RuntimeError with what to do.
    """
    built = path()
    if built.is_dir():
        return built
    if lacks := missing():
        raise RuntimeError("the machines' root file system cannot be built: " + "; ".join(lacks))
    built.parent.mkdir(parents=True, exist_ok=True)
    with (built.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.is_dir():
            partial = built.with_name(f".{built.name}.partial")
            if partial.exists():
                shutil.rmtree(partial)
            _install(partial)
            _configure(partial)
            partial.rename(built)
    return built


def _install(root: Path) -> None:
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, str(root)]
    done = subprocess.run(
        [*command, *_sources()], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        last = "\n".join(done.stderr.splitlines()[-15:])
        raise RuntimeError(
            f"mmdebstrap could not install Debian {SUITE} from this host's apt sources:\n{last}"
        )


def _configure(root: Path) -> None:
    for pattern in _REMOVED:
        for unwanted in root.glob(pattern):
            unwanted.unlink()
    for name, text in _FILES.items():
        written = root / name
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(text)
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    root.chmod(0o755)


def _sources() -> list[str]:
    """The host's apt source files that speak of the release."""
    apt = Path("/etc/apt")
    files = [
        apt / "sources.list",
        *sorted(apt.glob("sources.list.d/*.list")),
        *sorted(apt.glob("sources.list.d/*.sources")),
    ]
    return [
        str(file) for file in files if file.is_file() and _speaks_of_suite(file.read_text(errors="replace"))
    ]


def _speaks_of_suite(text: str) -> bool:
    one_line = re.search(rf"^deb\s.*\s{SUITE}[\s-]", text, re.MULTILINE)
    deb822 = re.search(rf"^Suites:.*\b{SUITE}\b", text, re.MULTILINE)
    return one_line is not None or deb822 is not None


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{ensure()}\n")
    except RuntimeError as error:
        sys.exit(str(error))
