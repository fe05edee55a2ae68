"""SSH access: one line for a limited time, and those that have expired taken away."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from ciab.control.access import AUTHORIZED_KEYS, authorized_line
from ciab.core.ids import SandboxId
from ciab.testing.guest import Call, FakeConnection, FakeConnections
from tests.unit.control.world import World
from tests.unit.server.desk import API, Desk, desk_over

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO7D9bV0pZk2pTj1y0q3bq6k8mJ1yE3m3w0Jm3Jm3Jm3"


async def _date(call: Call) -> int:
    """A machine whose clock shows UTC."""
    assert call.argv[1] == "-d"
    moment = datetime.fromtimestamp(int(call.argv[2].removeprefix("@")), UTC)
    call.out(moment.strftime(call.argv[3].removeprefix("+")).encode() + b"\n")
    return 0


def world(**programs: Any) -> World:
    return World(connections=FakeConnections(programs={"date": _date, **programs}))


async def lines(inside: FakeConnection) -> list[str]:
    text = b"".join([piece async for piece in inside.files.read(AUTHORIZED_KEYS)])
    return text.decode().splitlines()


async def test_a_key_is_let_in_for_a_limited_time() -> None:
    async with desk_over(world()) as desk:
        made = await desk.create(name="one")
        body = {"public_key": f"{PUBLIC} me@home", "ttl_secs": 60}
        answer = await desk.http.post(f"{API}/one/ssh-access", json=body)
        inside = await desk.inside(made)
        assert answer.status_code == 200
        access = answer.json()
        assert (access["user"], access["port"]) == ("ubuntu", 22)
        keys = await desk.world.database.keys.get(SandboxId(made["id"]))
        assert keys is not None
        assert access["host_key"] == keys.host.public
        until = datetime.fromisoformat(access["expires_at"])
        assert 50 < until.timestamp() - time.time() <= 60
        [line] = await lines(inside)
        assert line.startswith(f'expiry-time="{until:%Y%m%d%H%M%S}",restrict,pty,port-forwarding')
        assert PUBLIC in line
        assert "me@home" not in line
        assert (await inside.files.stat(AUTHORIZED_KEYS)).mode == 0o600


async def test_expired_lines_of_ours_go_and_all_others_stay() -> None:
    async with desk_over(world()) as desk:
        made = await desk.create(name="one")
        inside = await desk.inside(made)
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        theirs = ["ssh-ed25519 AAAAtheirs ciab", "# ciab-until-1 is a comment of theirs ", ""]
        ours = [
            authorized_line(PUBLIC, "20200101000000", long_ago),
            authorized_line(PUBLIC, "29990101000000", datetime(2999, 1, 1, tzinfo=UTC)),
        ]
        await _write(inside, "\n".join([*theirs, *ours]))
        await desk.http.post(f"{API}/one/ssh-access", json={"public_key": PUBLIC})
        found = await lines(inside)
        assert found[:4] == [*theirs, ours[1]]
        assert len(found) == 5


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"public_key": "ssh-ed25519"},
        {"public_key": f"{PUBLIC}\n{PUBLIC}"},
        {"public_key": f'command="sh" {PUBLIC}'},
        {"public_key": "ssh-dss AAAAB3NzaC1kc3M="},
        {"public_key": PUBLIC, "ttl_secs": 0},
        {"public_key": PUBLIC, "ttl_secs": 86_401},
    ],
)
async def test_what_is_no_public_key_or_too_long_is_refused(desk: Desk, body: dict[str, Any]) -> None:
    await desk.create(name="one")
    answer = await desk.http.post(f"{API}/one/ssh-access", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


async def test_a_machine_that_cannot_tell_the_time_lets_nobody_in() -> None:
    async def broken(call: Call) -> int:
        return 1

    async with desk_over(world(date=broken)) as desk:
        await desk.create(name="one")
        answer = await desk.http.post(f"{API}/one/ssh-access", json={"public_key": PUBLIC})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "ssh_error")


async def _write(inside: FakeConnection, text: str) -> None:
    async def once() -> Any:
        yield text.encode()

    await inside.files.write(AUTHORIZED_KEYS, once())
