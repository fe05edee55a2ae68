"""What a pulse tells of the CPU time that the user's processes use, and of a spot machine's end."""

import asyncio
import http.server
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from ciab.adapters.ssh.pool import Pool, SshConnection
from ciab.core.errors import GuestFault
from ciab.core.guest import Command
from tests.integration.ssh.acting import LIMIT, sh, streamed
from tests.sshd import ISOLATED, sshd

pytestmark = pytest.mark.skipif(
    not ISOLATED, reason="without root a test's machine has this user's processes"
)
IDLE = 0.005
"""The part of one core below which a machine is idle."""
DETACHED = "</dev/null >/dev/null 2>&1 &"


class Metadata(http.server.BaseHTTPRequestHandler):
    """IMDSv2's two calls, as the EC2 user guide has them ("Spot Instance interruption notices")."""

    announced: str | None = None
    port = 0

    def do_PUT(self) -> None:
        good = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._say(200 if good else 400, "the-token")

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != "the-token":
            self._say(401, "")
        elif self.path != "/latest/meta-data/spot/instance-action" or self.announced is None:
            self._say(404, "")
        else:
            self._say(200, self.announced)

    def _say(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def metadata() -> Iterator[type[Metadata]]:
    class Own(Metadata):
        """Of one test."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        Own.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Own
        server.shutdown()
        thread.join()


@pytest.fixture
async def own(tmp_path: Path, pool: Pool, metadata: type[Metadata]) -> AsyncIterator[SshConnection]:
    """A machine of the test's own, with nothing on it."""
    config = f"SetEnv AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:{metadata.port}"
    with sshd(tmp_path / "sshd", config) as machine:
        yield await pool.connect(machine.target)


async def part_of_a_core(connection: SshConnection, pulses: int, every: float = 1.0) -> float:
    """What all pulses together tell of a time."""
    await connection.care.pulse()
    cpu = over = 0.0
    for _ in range(pulses):
        await asyncio.sleep(every)  # the time that is measured
        pulse = await connection.care.pulse()
        cpu, over = cpu + pulse.cpu_seconds, over + pulse.over_seconds
    assert over >= pulses * every
    return cpu / over


async def test_pulses_every_second_are_not_use(own: SshConnection) -> None:
    assert await part_of_a_core(own, 5) < IDLE


async def test_logins_are_not_use(own: SshConnection, pool: Pool) -> None:
    (login,) = pool._logins.values()
    await own.care.pulse()
    others = [Pool() for _ in range(5)]
    for other in others:
        await (await other.connect(login.target)).guest.run(Command(("true",)), limit_bytes=LIMIT)
    pulse = await own.care.pulse()
    for other in others:
        await other.close_all()
    after = await own.care.pulse()
    assert pulse.cpu_seconds + after.cpu_seconds < 0.01


async def test_a_daemon_that_wakes_up_every_second_is_not_use(own: SshConnection) -> None:
    await own.guest.run(sh(f"setsid sh -c 'while :; do sleep 1; done' {DETACHED}"), limit_bytes=LIMIT)
    assert await part_of_a_core(own, 6) < IDLE


async def test_a_busy_loop_is_use(own: SshConnection) -> None:
    await own.guest.run(sh(f"setsid sh -c 'while :; do :; done' {DETACHED}"), limit_bytes=LIMIT)
    assert await part_of_a_core(own, 3, every=0.5) > 0.3  # other tests may have the other cores


async def test_a_build_of_many_short_processes_is_use(own: SshConnection) -> None:
    build = "while :; do /bin/true; /bin/true | /bin/cat; done"
    await own.guest.run(sh(f"setsid sh -c '{build}' {DETACHED}"), limit_bytes=LIMIT)
    assert await part_of_a_core(own, 3, every=0.5) > 0.2


async def test_a_command_under_way_is_use(own: SshConnection) -> None:
    async with aclosing(streamed(own, sh("echo; while :; do :; done"))) as command:
        await anext(command)
        assert await part_of_a_core(own, 2, every=0.5) > 0.3


async def test_what_has_ended_is_not_counted_again_in_its_parent(own: SshConnection) -> None:
    burn = "i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done; rm burning"
    parent = f'sh -c "{burn.replace("$", chr(92) + "$")}"; sleep 1000'
    await own.care.pulse()
    await own.guest.run(sh(f"touch burning; setsid sh -c '{parent}' {DETACHED}"), limit_bytes=LIMIT)
    told = 0.0
    while (await own.guest.run(sh("test -e burning"), limit_bytes=LIMIT)).exit_code == 0:
        told += (await own.care.pulse()).cpu_seconds
        await asyncio.sleep(0.2)  # each pulse leaves a hundredth of a second of each process out
    told += (await own.care.pulse()).cpu_seconds
    times = "cat /proc/$(pgrep -fx 'sh -c .*sleep 1000' | head -1)/stat | sed 's/.*) //' | cut -d' ' -f14,15"
    children = (await own.guest.run(sh(times), limit_bytes=LIMIT)).stdout.split()
    truth = sum(map(int, children)) / os.sysconf("SC_CLK_TCK")
    assert truth > 0.5
    assert 0.7 * truth < told <= truth + 0.1


async def test_a_spot_machine_tells_its_end(own: SshConnection, metadata: type[Metadata]) -> None:
    assert (await own.care.pulse(spot=True)).interruption is None
    metadata.announced = json.dumps({"action": "terminate", "time": "2026-01-02T03:04:05Z"})
    assert (await own.care.pulse(spot=True)).interruption == "2026-01-02T03:04:05Z"
    assert (await own.care.pulse()).interruption is None
    metadata.announced = "no JSON"
    assert (await own.care.pulse(spot=True)).interruption is None


async def test_what_goes_wrong_is_told_in_words(own: SshConnection) -> None:
    await own.guest.run(sh(f"rm -rf ~/.ciab; touch ~/.ciab; setsid sleep 9 {DETACHED}"), limit_bytes=LIMIT)
    for doing in (own.care.pulse, own.care.freeze):
        with pytest.raises(GuestFault, match=r"could not .*/\.ciab: File exists"):
            await doing()


async def test_notes_are_for_the_user_alone(own: SshConnection) -> None:
    await own.care.pulse()
    ran = await own.guest.run(sh("stat -c %a ~/.ciab ~/.ciab/pulse; ls -A ~/.ciab"), limit_bytes=LIMIT)
    assert ran.stdout.split() == [b"700", b"600", b"pulse"]
