"""What keeps a machine from its host: bubblewrap's command line, and whether it works here."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ciab.localec2.process.furnish import OWN_SBIN, UID

PROGRAM = ("-P", "-m", "ciab.localec2.process.init")
"""Arguments to Python for a machine's first process."""

_PROBE_SECS = 20
# Of the host's /etc, read-only, if it exists: what programs need and nobody would miss; no private keys.
_ETC: tuple[str, ...] = (
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "protocols",
)
_ETC += ("services", "terminfo", "ssl/certs", "ssl/openssl.cnf", "ca-certificates.conf", "pki/tls/certs")
# Kernel settings: where the operator is root they would be writable through a fresh /proc.
_PROC = ("sys", "sysrq-trigger", "irq", "bus")
_SYSTEM_LINKS = ("bin", "lib", "lib32", "lib64", "libx32")


def sandbox_argv(folder: Path, hostname: str, boot_id: Path, info: int) -> list[str]:
    """The machine's first process inside bubblewrap.

    `folder` holds home/ and var/, which are all of the disk that lasts. `info` is the descriptor on
    which bubblewrap reports the first process's pid as JSON. `boot_id` takes the place of the
    kernel's, which would stay the same over a stop and start.
    """
    return [
        *(shutil.which("bwrap") or "bwrap", "--die-with-parent", "--as-pid-1", "--info-fd", str(info)),
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
        *("--uid", str(UID), "--gid", str(UID), "--hostname", hostname),
        *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run", "--tmpfs", "/etc"),  # noqa: S108 - the machine's own /tmp
        *("--ro-bind", "/usr", "/usr", "--ro-bind-try", "/opt", "/opt"),
        *_system_folders(),
        *_sbin(),
        *(word for name in _ETC for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")),
        *(word for name in _PROC for word in ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}")),
        *("--bind", str(folder / "home"), "/home", "--bind", str(folder / "var"), "/var"),
        *("--ro-bind", str(boot_id), "/proc/sys/kernel/random/boot_id"),
        *_python(),
        *("--remount-ro", "/", "--chdir", "/", "--", sys.executable, *PROGRAM),
    ]


def process_environment() -> dict[str, str]:
    """Of a machine's first process: nothing of the operator's, but what this interpreter may need to load."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


def why_not() -> str | None:
    """None if bubblewrap works here, else the reason in one line. Really runs it: a quarter of a second."""
    # bubblewrap closes the descriptor of its report, and stderr has to last
    with tempfile.TemporaryDirectory(prefix="ciab-probe-") as name, Path(os.devnull).open("wb") as report:
        folder = Path(name)
        for part in ("home", "var"):
            (folder / part).mkdir()
        (folder / "boot_id").write_text("probe\n")
        argv = sandbox_argv(folder, "probe", folder / "boot_id", report.fileno())
        argv[argv.index("--") + 1 :] = [sys.executable, "-c", "import asyncssh, ciab"]
        try:
            run = subprocess.run(
                argv,
                env=process_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                pass_fds=(report.fileno(),),
                timeout=_PROBE_SECS,
                check=False,
            )
        except FileNotFoundError:
            return "bubblewrap (bwrap) is not installed"
        except subprocess.TimeoutExpired:
            return f"bwrap did not end within {_PROBE_SECS} seconds"
    if run.returncode == 0:
        return None
    lines = run.stderr.decode(errors="replace").splitlines() or [f"bwrap ended with code {run.returncode}"]
    hint = " (user namespaces may be forbidden here, by AppArmor or by a container)"
    return lines[-1] + (hint if lines[-1].startswith("bwrap:") else "")


def _system_folders() -> Iterable[str]:
    for name in _SYSTEM_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", os.readlink(path), str(path))  # noqa: PTH115 - as it is written
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))


def _sbin() -> Iterable[str]:
    """A folder that `furnish` fills with the host's programs, but for what would switch the host off."""
    if not Path("/sbin").is_symlink():
        yield from ("--ro-bind-try", "/sbin", OWN_SBIN)
    yield from ("--tmpfs", "/sbin")


def _python() -> Iterable[str]:
    """This interpreter, its packages and this program's source, read-only and where they are."""
    needed = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent]
    link = Path(sys.executable)
    while link.is_symlink():  # a virtual environment's may lead over several folders
        link = link.parent / link.readlink()
        needed.append(link)
    for package in ("ciab", "asyncssh", "cryptography"):
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            needed.append(Path(spec.origin).parent)
    bound: list[Path] = [Path("/usr")]
    for path in sorted(set(needed), key=lambda path: len(path.parts)):
        if not any(path.is_relative_to(outer) for outer in bound):
            bound.append(path)
            yield from ("--ro-bind", str(path), str(path))
