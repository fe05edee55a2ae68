"""From an order to a boot: the disk made ready, and all that the machine's first process must know."""

import base64
from contextlib import suppress
from pathlib import Path

from ciab.localec2 import disks
from ciab.localec2.host import MachineError, MachineOrder
from ciab.localec2.process.boot import Boot, BootFile, Login
from ciab.localec2.process.cloudconfig import CloudConfig


def prepare_boot(order: MachineOrder, config: CloudConfig, port: int, *, isolated: bool) -> Boot:
    """Isolated, paths are those of any Ubuntu machine; otherwise they are inside the instance's folder.

    Raises MachineError for a port that cannot be had, OSError when the disk cannot be written. Blocks.
    """
    _check_port(port)
    first = disks.prepare(order.folder)
    # all users share one uid, and the first of passwd gives it its name: let it be one that logs in
    users = sorted(config.users, key=lambda user: not user.authorized_keys)
    homes = Path("/home") if isolated else order.folder / "home"
    return Boot(
        instance_id=order.instance_id,
        hostname="ip-" + order.private_ip.replace(".", "-"),
        addresses=addresses(order),
        port=port,
        first=first,
        isolated=isolated,
        etc="/etc" if isolated else str(order.folder / "etc"),
        var="/var" if isolated else str(order.folder / "var"),
        shims="/run/ciab/bin" if isolated else str(order.folder / "shims"),
        resolv_conf=_resolv_conf(),
        logins=tuple(Login(u.name, str(homes / u.name), u.shell, u.authorized_keys) for u in users),
        host_keys=config.host_keys or (disks.own_host_key(order.folder),),
        files=tuple(BootFile(f.path, base64.b64encode(f.content).decode(), f.mode) for f in config.files),
        boot_commands=config.boot_commands,
        commands=config.commands,
        max_sessions=config.sshd.max_sessions,
        client_alive_interval=config.sshd.client_alive_interval,
        client_alive_count_max=config.sshd.client_alive_count_max,
        accept_env=config.sshd.accept_env,
        stream_local_bind_unlink=config.sshd.stream_local_bind_unlink,
    )


def addresses(order: MachineOrder) -> tuple[str, ...]:
    """Where its SSH listens."""
    return (order.private_ip, *([order.public_ip] if order.public_ip else []))


def _check_port(port: int) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if port < lowest:
        raise MachineError(
            f"A local machine's sshd cannot listen on port {port} without root: let the user-data write "
            f"'Port N', N from {lowest}, to a file in /etc/ssh/sshd_config.d."
        )


def _resolv_conf() -> str:
    with suppress(OSError):
        return Path("/etc/resolv.conf").read_text()
    return ""
