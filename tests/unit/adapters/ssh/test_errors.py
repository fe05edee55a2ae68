"""What asyncssh raises, told in the core's errors."""

import asyncio

import asyncssh
import pytest

from ciab.adapters.ssh.errors import TABLE, translated
from ciab.core.errors import Conflict, GuestFault, GuestUnreachable


@pytest.mark.parametrize(
    ("foreign", "code", "retryable"),
    [
        (asyncssh.HostKeyNotVerifiable("no"), "ssh_error", False),
        (asyncssh.PermissionDenied("no"), "ssh_error", False),
        (asyncssh.KeyExchangeFailed("no"), "ssh_error", False),
        (asyncssh.KeyImportError("no"), "ssh_error", False),
        (asyncssh.ConnectionLost("gone"), "guest_unreachable", True),
        (asyncssh.ChannelOpenError(1, "no"), "guest_unreachable", True),
        (ConnectionRefusedError("no"), "guest_unreachable", True),
        (TimeoutError(), "guest_unreachable", True),
        (OSError("no route"), "guest_unreachable", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_who_must_act_and_whether_to_try_again(foreign: Exception, code: str, retryable: bool) -> None:
    with pytest.raises(GuestFault) as caught, translated("log in"):
        raise foreign
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert caught.value.__cause__ is foreign
    assert caught.value.message.startswith("could not log in: ")


@pytest.mark.parametrize("ours", [Conflict("mine"), asyncio.CancelledError(), ValueError("a bug")])
def test_what_is_not_asyncsshs_passes(ours: BaseException) -> None:
    with pytest.raises(type(ours)) as caught, translated("log in"):
        raise ours
    assert caught.value is ours


def test_no_line_of_the_table_is_hidden_by_one_above() -> None:
    for number, (foreign, ours, _, _) in enumerate(TABLE):
        above = [line for line in TABLE[:number] if issubclass(foreign, line[0])]
        assert not above, f"{foreign.__name__} -> {ours.__name__} is never reached"


def test_a_broken_connection_may_be_tried_again() -> None:
    with pytest.raises(GuestUnreachable), translated("run"):
        raise asyncssh.DisconnectError(11, "by application")
