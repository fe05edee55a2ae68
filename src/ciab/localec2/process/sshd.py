"""The SSH server of a local machine. Runs inside it, as a child of its first process.

What an OpenSSH server on Ubuntu with CIAB's drop-in does, on the machine's own addresses: public keys
only, from `~/.ssh/authorized_keys` read at each login (`expiry-time` honoured), one host key, forwards
on loopback only.
"""

import asyncio
import contextlib
import ctypes.util
import os
import re
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

# asyncssh asks find_library for optional C libraries, and each answer costs a run of gcc or
# ldconfig: at fifty machines' start that is most of the time. They are not needed here.
ctypes.util.find_library = lambda name: None

import asyncssh  # noqa: E402 - after the line above

from ciab.localec2.process.boot import Boot, Login  # noqa: E402
from ciab.localec2.process.commands import Session, run_first_boot  # noqa: E402

_EXPIRY = re.compile(r'(^|[\s,])expiry-time="(\d{8}|\d{12}|\d{14})(Z?)"(,?)')
_LOGIN_TIMEOUT_SECS = 120


def serve_forever(boot: Boot, status: int, *, run_commands: bool) -> None:
    """Serve until killed. Writes `up` to the descriptor `status` when logins are possible, and closes it."""
    os.chdir(boot.logins[0].home)
    asyncio.run(_serve(boot, status, run_commands))


async def _serve(boot: Boot, status: int, run_commands: bool) -> None:
    keys = [asyncssh.import_private_key(text) for text in boot.host_keys]
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    async with contextlib.AsyncExitStack() as stack:
        for listener in [_listener(address, boot.port) for address in boot.addresses]:
            await stack.enter_async_context(
                asyncssh.listen(
                    sock=listener,
                    server_factory=lambda: Server(boot),
                    server_host_keys=keys,
                    encoding=None,
                    line_editor=False,
                    agent_forwarding=False,
                    x11_forwarding=False,
                    password_auth=False,
                    kbdint_auth=False,
                    host_based_auth=False,
                    gss_host=None,
                    config=[],
                    login_timeout=_LOGIN_TIMEOUT_SECS,
                    keepalive_interval=boot.client_alive_interval,
                    keepalive_count_max=boot.client_alive_count_max,
                )
            )
        os.write(2, f"sshd listens on {', '.join(boot.addresses)} port {boot.port}\n".encode())
        with contextlib.suppress(BrokenPipeError):
            os.write(status, b"up\n")
        os.close(status)
        async with asyncio.TaskGroup() as tasks:
            if run_commands:
                tasks.create_task(run_first_boot(boot))
            await done.wait()
            os._exit(0)  # connections die with the machine, as on a real power-off


def _listener(address: str, port: int) -> socket.socket:
    # the protocol is named: asyncio sets TCP_NODELAY only on sockets that know it
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    try:
        listener.bind((address, port))
    except OSError as exc:
        raise OSError(f"cannot listen on {address} port {port}: {exc.strerror}") from exc
    return listener


class Server(asyncssh.SSHServer):
    """One connection."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._sessions = 0
        self._login: Login | None = None
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        self._login = next((login for login in self._boot.logins if login.name == username), None)
        keys = authorized_keys(self._login, datetime.now(UTC)) if self._login else None
        if keys and self._connection:
            self._connection.set_authorized_keys(keys)
        return True

    def session_requested(self) -> Session:
        """As sshd: a channel above MaxSessions is refused, the connection goes on."""
        if self._login is None or self._sessions >= self._boot.max_sessions:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
        self._sessions += 1
        return Session(self._boot, self._login, self._session_ended)

    def _session_ended(self) -> None:
        self._sessions -= 1

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True

    async def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        """GatewayPorts no: whatever was asked for, only loopback is listened on."""
        if self._connection is None:
            return False
        bind = listen_host if listen_host.startswith("127.") else "127.0.0.1"
        return await self._connection.forward_local_port(bind, listen_port, listen_host, listen_port)

    def unix_server_requested(self, listen_path: str) -> bool:
        if self._boot.stream_local_bind_unlink:
            Path(listen_path).unlink(missing_ok=True)
        return True


def authorized_keys(login: Login, now: datetime) -> asyncssh.SSHAuthorizedKeys | None:
    """The keys that may log in now; None if there are none."""
    try:
        lines = Path(login.home, ".ssh", "authorized_keys").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    try:
        return asyncssh.import_authorized_keys("\n".join(valid_lines(lines, now)))
    except ValueError:  # not one valid line
        return None


def valid_lines(lines: list[str], now: datetime) -> list[str]:
    """Lines whose `expiry-time="YYYYMMDD[HHMM[SS]][Z]"` has not passed, without that option.

    asyncssh knows every other option. As with sshd, a key with a time that cannot be read is refused.
    """
    kept = []
    for line in lines:
        if "expiry-time" not in line.lower():
            kept.append(line)
        elif (match := _EXPIRY.search(line)) and (until := _time(match[2], match[3])) and now < until:
            comma = "," if match[1] == match[4] == "," else ""
            kept.append((line[: match.start()] + comma + line[match.end() :]).strip())
    return kept


def _time(digits: str, zulu: str) -> datetime | None:
    try:
        naive = datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone follows
    except ValueError:
        return None
    return naive.replace(tzinfo=UTC) if zulu else naive.astimezone()
