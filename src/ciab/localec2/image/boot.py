"""The launcher of an image machine: `python -m ciab.localec2.image.boot`, a child of the region for each.

In: one line of JSON (the fields of `Boot`), then `stop` asks for an orderly shutdown; the end of the input,
so also the region's death, however it dies, kills the machine. Out: one line of JSON, `{"uplink": FD}` when
init runs (FD: this process's descriptor of the network namespace at the other end of the machine's cable) or
`{"error": "..."}`. This process itself lives in the machine's network namespace, so that /proc/PID/net tells
what the machine listens on. It exits 0 after a `poweroff` and boots the machine again after a `reboot`.
"""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ciab.localec2.image import kernel
from ciab.localec2.image.cgroup import empty_cgroup
from ciab.localec2.image.root import become_init

MACHINE_IP = "10.0.0.10"
"""Every machine's own address on its own cable; clients use the addresses of the order."""
IMDS_IP = "169.254.169.254"
CONSOLE_BYTES = 65536

_POWEROFF = signal.SIGRTMIN + 4  # systemd(1): starts poweroff.target
# reboot(2): how a pid namespace's init ends when the machine in it reboots or powers off
_REBOOTED = -signal.SIGHUP
_POWERED_OFF = -signal.SIGINT
_NEW_FOR_INIT = kernel.NEWNS | kernel.NEWUTS | kernel.NEWIPC


@dataclass(frozen=True, slots=True)
class Boot:
    """What the launcher is told. Paths are absolute."""

    rootfs: str
    folder: str
    cgroup: str
    hostname: str
    mac: str
    hypervisor_uuid: str
    """Starts with "ec2", as on EC2."""


def main() -> int:
    """Boot until the machine powers off, is stopped or loses its region."""
    with os.fdopen(0, "rb", buffering=0, closefd=False) as orders:  # unbuffered: `_attend` reads what follows
        boot = Boot(**json.loads(orders.readline()))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C at a terminal is for the region, which then stops us
    console = _Console(Path(boot.folder, "console.log"))
    try:
        uplink = _connect(boot.mac)
        pid = _fork_init(boot, console)
        _say({"uplink": uplink})
        while (end := _attend(pid, console)) == _REBOOTED:
            empty_cgroup(Path(boot.cgroup))
            pid = _fork_init(boot, console)
    except OSError as error:
        _say({"error": str(error)})
        return 1
    finally:
        empty_cgroup(Path(boot.cgroup))
    return 0 if end == _POWERED_OFF else 1


def _say(message: dict[str, object]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


class _Console:
    """The machine's console: a terminal whose last output is kept in a file."""

    def __init__(self, path: Path) -> None:
        self.master, self._slave = (
            pty.openpty()
        )  # our own slave keeps the master readable while nobody has it open
        self.name = os.ttyname(self._slave)
        self._path = path
        self._file = path.open("wb", buffering=0)

    def copy(self) -> None:
        self._file.write(os.read(self.master, 65536))
        if self._file.tell() > 4 * CONSOLE_BYTES:
            last = self._path.read_bytes()[-CONSOLE_BYTES:]
            self._file.seek(0)
            self._file.truncate()
            self._file.write(last)


def _connect(mac: str) -> int:
    """Two new network namespaces with a cable between them, and no other; we end in the machine's.

    The far one is where IMDS answers and connections come from. Nothing is routed, so there is no way out.
    """
    kernel.unshare(kernel.NEWNET)
    uplink = os.open("/proc/self/ns/net", os.O_RDONLY)
    kernel.unshare(kernel.NEWNET)
    machine = os.open("/proc/self/ns/net", os.O_RDONLY)
    _ip(
        "link set lo up",
        f"link add eth0 address {mac} type veth peer name uplink",
        f"link set uplink netns /proc/{os.getpid()}/fd/{uplink}",
        f"addr add {MACHINE_IP}/24 dev eth0",
        "link set eth0 up",
        f"route add {IMDS_IP} dev eth0",
    )
    kernel.setns(uplink, kernel.NEWNET)
    _ip("addr add 10.0.0.1/24 dev uplink", f"addr add {IMDS_IP}/32 dev uplink", "link set uplink up")
    kernel.setns(machine, kernel.NEWNET)
    os.close(machine)
    return uplink


def _ip(*commands: str) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(commands) + "\n", text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise OSError(f"ip could not set up the machine's network: {done.stderr.strip()}")


def _fork_init(boot: Boot, console: _Console) -> int:
    """Fork the machine's pid 1; its pid, once it runs the image's init. Raises OSError if it could not."""
    report, tell = os.pipe()
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    kernel.unshare(kernel.NEWPID)
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with_parent(signal.SIGKILL)
            os.write(tell, b" ")  # SIGPIPE or EPIPE if our parent died before the line above
            os.setsid()
            Path(boot.cgroup).mkdir(exist_ok=True)
            Path(boot.cgroup, "cgroup.procs").write_text("0")
            kernel.unshare(_NEW_FOR_INIT | kernel.NEWCGROUP)
            become_init(boot.rootfs, Path(boot.folder), boot.hostname, boot.hypervisor_uuid, console.name)
        except Exception as error:  # noqa: BLE001 - a forked child must not run on into its parent's code
            os.write(tell, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    kernel.setns(own, kernel.NEWPID)  # or no further pid namespace can be made, for a reboot
    os.close(own)
    os.close(tell)
    with os.fdopen(report, "rb") as reader:
        problem = reader.read().decode(errors="replace").strip()
    if problem:
        os.waitpid(pid, 0)
        raise OSError(problem)
    return pid


def _attend(pid: int, console: _Console) -> int:
    """Copy the console and obey until init ends; its exit code, negative for a signal."""
    ended = os.pidfd_open(pid)
    polled = select.poll()
    for descriptor in (0, console.master, ended):
        polled.register(descriptor, select.POLLIN)
    stopping = False
    try:
        while True:
            ready = {descriptor for descriptor, _ in polled.poll(500 if stopping else None)}
            if console.master in ready:
                console.copy()
            if ended in ready:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if 0 in ready:
                stopping = True
                if not os.read(0, 64):  # the region is gone, or is out of patience
                    os.kill(pid, signal.SIGKILL)
                    polled.unregister(0)
            if stopping:  # again and again: before systemd has its handlers the kernel drops the signal
                with suppress(ProcessLookupError):
                    os.kill(pid, _POWEROFF)
    finally:
        os.close(ended)


if __name__ == "__main__":
    sys.exit(main())
