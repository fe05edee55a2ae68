"""What the children of a machine's first process become: the commands of each boot, the SSH server.

Each is a process session of its own, with nothing on stdin and the console for its output. Standard
library only, until the child is the SSH server.
"""

import os
import signal
from collections.abc import Callable

from ciab.localec2.process.boot import BAD_BOOT, Boot
from ciab.localec2.process.shims import POWEROFF, REBOOT


def fork_boot_commands(boot: Boot, console: Callable[[str], None]) -> int:
    """cloud-config's bootcmd: one shell script; what it leaves in the background goes on. The pid."""

    def become() -> None:
        environment = boot.environment(boot.logins[0])
        os.execve("/bin/sh", ["sh", "-c", boot.script(boot.boot_commands)], environment)  # noqa: S606 - it is the shell

    return _fork(boot, become, console)


def fork_sshd(boot: Boot, console: Callable[[str], None], *, run_commands: bool) -> int:
    """The SSH server, which tells our stdout when it is up. The pid."""

    def become() -> None:
        from ciab.localec2.process.sshd import serve_forever

        serve_forever(boot, status, run_commands=run_commands)

    status = os.dup(1)
    os.set_inheritable(status, False)
    try:
        return _fork(boot, become, console)
    finally:
        os.close(status)


def _fork(boot: Boot, become: Callable[[], None], console: Callable[[str], None]) -> int:
    pid = os.fork()
    if pid == 0:
        # in the child nothing may fall back into the parent's loop
        try:
            _settle(boot)
            become()
        except BaseException as exc:  # noqa: BLE001 - the child's last word before it ends
            console(f"{become.__qualname__.split('.')[0]}: {type(exc).__name__}: {exc}")
        os._exit(BAD_BOOT)
    return pid


def _settle(boot: Boot) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, POWEROFF, REBOOT):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    if not boot.isolated:
        from ciab.localec2.process.seccomp import confine

        confine(os.getppid(), (0, POWEROFF, REBOOT), (_outside(),))


def _outside() -> int:
    """The region: the parent of the first process."""
    with open(f"/proc/{os.getppid()}/stat") as stat:  # noqa: PTH123 - Path would be one more import
        return int(stat.read().rpartition(")")[2].split()[1])
