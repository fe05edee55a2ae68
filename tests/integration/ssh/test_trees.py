"""A command's whole tree, at its end and at everybody else's."""

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from ciab.adapters.ssh.pool import SshConnection
from tests.integration.ssh.acting import LIMIT, Mark, sh, streamed, until

TREES = {
    "a plain child": 'sleep "$1" & sleep "$1"',
    "a session of its own": 'setsid sleep "$1" & sleep "$1"',
    "a double fork": '( sleep "$1" & ) ; sleep "$1"',
    "a double fork in a session of its own": '( setsid sleep "$1" & ) ; sleep "$1"',
    "one that ignores TERM": 'trap "" TERM HUP INT; sleep "$1" & sleep "$1"',
    "one that is stopped": 'sleep "$1" & until grep -q sleep /proc/$!/comm; do :; done; kill -STOP $!; '
    'sleep "$1"',
}


@pytest.mark.parametrize("script", TREES.values(), ids=TREES)
async def test_a_timeout_ends_the_whole_tree(connection: SshConnection, script: str) -> None:
    mark = Mark()
    ran = await connection.guest.run(sh(script, mark.seconds, timeout=0.5), limit_bytes=LIMIT)
    assert ran.exit_code == 124
    assert ran.timed_out
    assert mark.count() == 0


@pytest.mark.parametrize("script", TREES.values(), ids=TREES)
async def test_a_stream_that_is_closed_ends_the_whole_tree(connection: SshConnection, script: str) -> None:
    mark = Mark()
    async with aclosing(streamed(connection, sh(f"echo up; {script}", mark.seconds))) as output:
        await anext(output)
        await until(lambda: mark.count() == 2)
    await until(lambda: mark.count() == 0)


async def test_a_run_that_is_cancelled_ends_the_whole_tree(connection: SshConnection) -> None:
    mark = Mark()
    command = sh(TREES["a double fork"], mark.seconds)
    running = asyncio.create_task(connection.guest.run(command, limit_bytes=LIMIT))
    await until(lambda: mark.count() == 2)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    await until(lambda: mark.count() == 0)


async def test_a_fork_bomb_that_times_out_leaves_nothing(connection: SshConnection) -> None:
    mark = Mark()
    bomb = 'n=0; while [ $n -lt 150 ]; do (setsid sleep "$1" &) ; n=$((n+1)); done; sleep "$1"'
    ran = await connection.guest.run(sh(bomb, mark.seconds, timeout=1), limit_bytes=LIMIT)
    assert ran.timed_out
    assert mark.count() == 0


async def test_the_output_before_a_timeout_is_kept(connection: SshConnection) -> None:
    ran = await connection.guest.run(sh("echo so far; sleep 600", timeout=0.3), limit_bytes=LIMIT)
    assert (ran.stdout, ran.exit_code) == (b"so far\n", 124)


async def test_what_a_command_leaves_in_the_background_lives_and_holds_nothing_up(
    connection: SshConnection,
) -> None:
    mark = Mark()
    ran = await connection.guest.run(sh('sleep "$1" & echo started', mark.seconds), limit_bytes=LIMIT)
    assert ran.stdout == b"started\n"
    assert ran.duration_ms < 5000
    assert mark.count() == 1
    os.kill(mark.pids()[0], signal.SIGKILL)


async def test_what_goes_on_printing_in_the_background_is_not_ended_by_it(
    connection: SshConnection, tmp_path: Path
) -> None:
    """Nobody reads its output any more; a broken pipe would end it."""
    done = tmp_path / "done"
    script = '(sleep 0.4; head -c 300000 /dev/zero && touch "$1") & echo started'
    ran = await connection.guest.run(sh(script, str(done)), limit_bytes=LIMIT)
    assert ran.stdout == b"started\n"
    await until(done.exists)
