"""What asyncssh and the operating system raise, told in the core's errors, in one table."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncssh

from ciab.core.errors import CiabError, GuestFault, GuestUnreachable

NOT_OURS = "do not retry: either another machine answers at this address, or it was set up with another key"
NO_SERVER = "if this lasts, its SSH server did not come up, or listens on another port than ssh_port"
NO_WAY = "if this lasts, look at the way to it: connect_address, its subnet, its security groups on ssh_port"
TABLE: tuple[tuple[type[BaseException], type[GuestFault], str, str | None], ...] = (
    (asyncssh.HostKeyNotVerifiable, GuestFault, "the machine showed another host key than its own", NOT_OURS),
    (asyncssh.PermissionDenied, GuestFault, "the machine refused our login", "see its cloud-init log"),
    (asyncssh.KeyExchangeFailed, GuestFault, "no algorithm in common with the machine's SSH server", None),
    (asyncssh.ProtocolError, GuestFault, "the machine does not speak SSH as it should", None),
    (asyncssh.ProtocolNotSupported, GuestFault, "the machine does not speak SSH 2", None),
    (asyncssh.IllegalUserName, GuestFault, "the machine's SSH server refuses this user name", None),
    (asyncssh.KeyImportError, GuestFault, "the sandbox's own SSH key cannot be read", None),
    (asyncssh.ChannelOpenError, GuestUnreachable, "the machine opened no session", None),
    (asyncssh.Error, GuestUnreachable, "the connection to the machine broke", None),
    (ConnectionRefusedError, GuestUnreachable, "the machine refuses connections", NO_SERVER),
    (TimeoutError, GuestUnreachable, "the machine did not answer in time", NO_WAY),
    (OSError, GuestUnreachable, "the machine cannot be reached", NO_WAY),
)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise the core's error for what goes wrong inside; `doing` says what was tried: "log in to 1.2.3.4".

    GuestUnreachable when the same may work later, GuestFault when it will not.
    """
    try:
        yield
    except (CiabError, asyncio.CancelledError):
        raise
    except (asyncssh.Error, asyncssh.KeyImportError, OSError) as exc:
        raise translate(exc, doing) from exc


def translate(exc: BaseException, doing: str) -> GuestFault:
    """The core's error for one exception."""
    for foreign, ours, what, hint in TABLE:
        if isinstance(exc, foreign):
            return ours(f"could not {doing}: {what}", hint=hint)
    return GuestUnreachable(f"could not {doing}: the connection to the machine broke")
