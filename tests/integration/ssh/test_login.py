"""Who is talked to, and how often it is asked."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ciab.adapters.ssh import keys
from ciab.adapters.ssh.pool import Pool
from ciab.core.errors import GuestFault, GuestUnreachable
from ciab.core.secret import Secret
from tests.integration.ssh.acting import LIMIT, a_proxy, sh, until
from tests.sshd import Sshd


async def test_another_host_key_is_refused_for_good(pool: Pool, machine: Sshd) -> None:
    target = replace(machine.target, host_key=keys.mint_key().public)
    with pytest.raises(GuestFault, match="another host key") as caught:
        await pool.connect(target)
    assert caught.value.code == "ssh_error"
    assert not caught.value.retryable
    assert "do not retry" in (caught.value.hint or "")


async def test_another_user_key_is_refused(pool: Pool, machine: Sshd) -> None:
    with pytest.raises(GuestFault, match="refused our login") as caught:
        await pool.connect(replace(machine.target, user_key=keys.mint_key().private))
    assert caught.value.code == "ssh_error"


async def test_a_key_that_cannot_be_read_is_not_shown(pool: Pool, machine: Sshd) -> None:
    with pytest.raises(GuestFault) as caught:
        await pool.connect(replace(machine.target, user_key=Secret("not a key")))
    assert "not a key" not in str(caught.value)


async def test_nobody_there_may_be_tried_again(pool: Pool, machine: Sshd) -> None:
    async with a_proxy(machine.target) as proxy:
        gone = proxy.target
    with pytest.raises(GuestUnreachable) as caught:
        await pool.connect(gone)
    assert caught.value.retryable


async def test_the_operators_own_ssh_is_ignored(
    pool: Pool, machine: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  Port 1\n  User nobody\n  ProxyCommand false\n")
    (tmp_path / ".ssh" / "id_ed25519").write_text("not a key")
    (tmp_path / ".ssh" / "known_hosts").write_text(f"* {keys.mint_key().public}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    connection = await pool.connect(machine.target)
    assert (await connection.guest.run(sh("exit 7"), limit_bytes=LIMIT)).exit_code == 7


async def test_a_login_is_shared_by_all_who_ask(pool: Pool, machine: Sshd) -> None:
    async with a_proxy(machine.target) as proxy:
        connections = await asyncio.gather(*[pool.connect(proxy.target) for _ in range(50)])
        assert len(set(map(id, connections))) == 1
        assert proxy.accepted == 1


async def test_a_login_goes_on_when_who_asked_for_it_leaves(pool: Pool, machine: Sshd) -> None:
    async with a_proxy(machine.target) as proxy:
        first = asyncio.create_task(pool.connect(proxy.target))
        await until(lambda: proxy.accepted == 1)
        first.cancel()
        await pool.connect(proxy.target)
        assert proxy.accepted == 1


async def test_a_close_during_the_login_is_an_error_and_no_cancellation(pool: Pool, machine: Sshd) -> None:
    async with a_proxy(machine.target) as proxy:
        asked = asyncio.create_task(pool.connect(proxy.target))
        await until(lambda: proxy.accepted == 1)
        await pool.close(proxy.target.sandbox_id)
        with pytest.raises(GuestUnreachable):
            await asked
