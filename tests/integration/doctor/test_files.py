"""Faults of what lies on this machine, as `ciab doctor` tells them: key file, configuration, database."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest

from ciab.adapters.db import DatabaseLock
from ciab.adapters.vault import Key, replace_key_file
from tests.installation import Installation


def _remove(file: Path) -> None:
    file.unlink()


def _open_up(file: Path) -> None:
    file.chmod(0o644)


def _another(file: Path) -> None:
    file.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key("openssh"))


@pytest.mark.parametrize(
    ("spoil", "told"), [(_remove, "No such file"), (_open_up, "0644"), (_another, "another key")]
)
async def test_a_key_file_that_cannot_be_used(
    named: Installation, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(named.key_file)
    wrong = named.wrong()
    assert set(wrong) == {"key file"}
    assert told in wrong["key file"]["message"]
    assert wrong["key file"]["hint"]


async def test_a_bad_configuration_is_told_with_its_lines(installation: Installation) -> None:
    installation.text = '[server]\nprot = 1\n\n[runtime]\nbackend = "ec3"\n'
    code, found = installation.findings()
    assert code == 1
    assert {finding["status"] for name, finding in found.items() if name != "configuration"} == {"skipped"}
    assert "config.toml:2: server.prot" in found["configuration"]["message"]
    assert "config.toml:5: runtime.backend" in found["configuration"]["message"]


async def test_a_database_of_a_newer_version(installation: Installation) -> None:
    installation.make_database()
    with sqlite3.connect(installation.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    wrong = installation.wrong()
    assert set(wrong) == {"database"}
    assert "newer ciab" in wrong["database"]["message"]


async def test_a_database_of_another_key_or_without_one(installation: Installation) -> None:
    installation.make_database()
    file = installation.database.with_name("encryption.key")
    replace_key_file(file, Key.fresh())
    assert "another encryption key" in installation.wrong()["database"]["message"]
    file.chmod(0o640)
    wrong = installation.wrong()
    assert set(wrong) == {"encryption key"}
    assert wrong["encryption key"]["hint"] == f"chmod 600 {file}"
    file.unlink()
    wrong = installation.wrong()
    assert set(wrong) == {"encryption key"}
    assert not file.exists()


async def test_a_database_in_use_is_no_fault(installation: Installation) -> None:
    installation.make_database()
    lock = DatabaseLock.acquire(installation.database)
    try:
        code, found = installation.findings()
    finally:
        lock.release()
    assert code == 0
    assert found["database"]["message"] == f"a server has it open, process {os.getpid()}"
