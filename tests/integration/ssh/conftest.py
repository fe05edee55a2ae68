"""A real sshd, and the adapter's connection to it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from ciab.adapters.ssh.pool import Pool, SshConnection
from tests.sshd import Sshd, sshd


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close_all()


@pytest.fixture
async def connection(pool: Pool, machine: Sshd) -> SshConnection:
    return await pool.connect(machine.target)
