"""A database of the first schema, with rows as they were written then: it opens, and all of it is there."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ciab.adapters.db import open_database
from ciab.adapters.db.database import Database
from ciab.adapters.db.peek import in_states
from ciab.adapters.db.prepare import MIGRATIONS, prepare
from ciab.adapters.db.reseal import reseal
from ciab.adapters.vault import AesGcmVault, Key
from ciab.core.ids import SandboxId
from ciab.core.journal import Noted, StepStatus
from ciab.core.machine import KeyPair, Login, Machine, MachineImage, MachineState, Outcome, SandboxKeys, Site
from ciab.core.ports import Once, Query
from ciab.core.sandbox import Failure, Meter, Sandbox
from ciab.core.secret import Secret
from ciab.core.spec import Ec2Overrides, GitRepo, Persistence, Spec
from ciab.core.states import State
from tests.databases import KEY, PLACE, a_sandbox, ticking

VAULT = AesGcmVault(KEY)
RUNNING, FAILED = SandboxId("11111111-0000-4000-8000-000000000000"), SandboxId("22222222-0000-4000-8000-0")
THEN = datetime(2025, 3, 1, 12, tzinfo=UTC)
THEN_TEXT = "2025-03-01T12:00:00.000000+00:00"

OLD_SPEC = {
    "agent_provider": "command",
    "image": None,
    "persistence": "persistent",
    "env_vars": {"TOKEN": "s3cret"},
    "git_repos": [
        {
            "url": "https://me:pw@example.org/r.git",
            "branch": "main",
            "tag": None,
            "commit": None,
            "dest_path": None,
            "depth": 1,
            "sparse_paths": ["a"],
            "submodules": False,
        }
    ],
    "provisioning_scripts": ["true"],
    "labels": {"team": "x"},
    "ec2": {
        "region": None,
        "instance_type": "t3.small",
        "ami": None,
        "subnet_id": None,
        "security_group_ids": ["sg-1"],
        "tags": {"k": "v"},
        "spot": None,
    },
}
OLD_SITE: dict[str, dict[str, Any]] = {
    "place": {"backend": "ec2", "account": "123456789012", "endpoint": "", "region": "eu-west-1"},
    "login": {"user": "ubuntu", "port": 22, "address": "public"},
}
OLD_MACHINE = {
    "id": "i-1",
    "sandbox_id": RUNNING,
    "state": "running",
    "type": "t3.small",
    "region": "eu-west-1",
    "zone": "eu-west-1a",
    "image": "ami-1",
    "public_ip": "192.0.2.1",
    "private_ip": None,
    "launched_at": THEN_TEXT,
    "reason": None,
}
OLD_KEYS = {
    "user": {"public": "ssh-ed25519 u", "private": "private u"},
    "host": {"public": "ssh-ed25519 h", "private": "private h"},
}

RUNNING_NOW = Sandbox(
    id=RUNNING,
    name="works",
    spec=Spec(
        "command",
        persistence=Persistence.PERSISTENT,
        env_vars={"TOKEN": Secret("s3cret")},
        git_repos=(
            GitRepo(Secret("https://me:pw@example.org/r.git"), branch="main", depth=1, sparse_paths=("a",)),
        ),
        provisioning_scripts=("true",),
        labels={"team": "x"},
        ec2=Ec2Overrides(instance_type="t3.small", security_group_ids=("sg-1",), tags={"k": "v"}),
    ),
    state=State.RUNNING,
    created_at=THEN,
    updated_at=THEN,
    version=7,
    ran=True,
    site=Site(PLACE, Login("ubuntu", 22, "public")),
    image=MachineImage("ami-1", "/dev/sda1", "x86_64", "jammy"),
    machine=Machine(
        id="i-1",
        sandbox_id=RUNNING,
        state=MachineState.RUNNING,
        type="t3.small",
        region="eu-west-1",
        zone="eu-west-1a",
        image="ami-1",
        public_ip="192.0.2.1",
        private_ip=None,
        launched_at=THEN,
    ),
)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database as the first version left it."""
    first = tmp_path / "first"
    shutil.copytree(MIGRATIONS, first)
    for later in sorted((first / "versions").glob("0*.py"))[1:]:
        later.unlink()
    made = tmp_path / "data" / "ciab.db"
    await asyncio.to_thread(prepare, made, VAULT, first)
    await asyncio.to_thread(_fill, made)
    return made


def opening(path: Path, key: Key = KEY) -> Any:
    return open_database(path, AesGcmVault(key), ticking(), 1000)


def _fill(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        connection.execute("PRAGMA foreign_keys = ON")
        _insert(connection, "sandboxes", _old_sandboxes())
        _insert(connection, "labels", [{"sandbox_id": RUNNING, "key": "team", "value": "x"}])
        _insert(connection, "idempotency_keys", [{"key": "k", "digest": "d", "sandbox_id": RUNNING}])
        pairs = VAULT.seal(Secret(json.dumps(OLD_KEYS)), RUNNING, "keys")
        _insert(connection, "keys", [{"sandbox_id": RUNNING, "pairs": pairs}])
        _insert(connection, "launch_attempts", [_old_attempt()])
        _insert(connection, "journal", _old_journal())
        _insert(connection, "events", _old_events())
        connection.commit()


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])


def _old_sandboxes() -> list[dict[str, Any]]:
    common = {"provider": "command", "created_at": THEN_TEXT, "updated_at": THEN_TEXT}
    running = {
        "id": RUNNING,
        "name": "works",
        "state": "running",
        "version": 7,
        "ran": 1,
        "spec": VAULT.seal(Secret(json.dumps(OLD_SPEC)), RUNNING, "spec"),
        "site": json.dumps(OLD_SITE),
        "image": json.dumps(
            {"id": "ami-1", "root_device": "/dev/sda1", "architecture": "x86_64", "name": "jammy"}
        ),
        "machine": json.dumps(OLD_MACHINE),
    }
    failure = {"step": "launch_machine", "code": "ec2_error", "message": "no", "hint": None}
    failed = {
        "id": FAILED,
        "name": "did-not",
        "state": "failed",
        "version": 3,
        "ran": 0,
        "spec": VAULT.seal(Secret(json.dumps(OLD_SPEC | {"labels": {}})), FAILED, "spec"),
        "failure": json.dumps(failure),
    }
    return [common | running, common | failed]


def _old_attempt() -> dict[str, Any]:
    return OLD_SITE["place"] | {
        "sandbox_id": RUNNING,
        "number": 1,
        "token": "t",
        "request": VAULT.seal(Secret("{}"), RUNNING, "request 1"),
        "begun_at": THEN_TEXT,
        "outcome": "launched",
        "machine_id": "i-1",
        "settled_at": THEN_TEXT,
    }


def _old_journal() -> list[dict[str, Any]]:
    step = {"kind": "step", "subject": "mint_keys"}
    rows: list[dict[str, Any]] = [
        {"kind": "state", "subject": "pending"},
        {"kind": "state", "subject": "creating", "before": "pending"},
        step | {"status": "begun"},
        step | {"status": "done", "message": "made", "elapsed_ms": 12},
        {"kind": "note", "subject": "alarm", "message": "once"},
    ]
    common = {"sandbox_id": RUNNING, "at": THEN_TEXT}
    return [common | {"id": number * 10} | row for number, row in enumerate(rows, 1)]


def _old_events() -> list[dict[str, Any]]:
    data = json.dumps({"from": None, "to": "pending", "failure": None})
    event = {"sandbox_id": RUNNING, "at": THEN_TEXT, "event_type": "sandbox_state_changed", "data": data}
    return [event | {"id": 5}, event | {"id": 9}]


def journal_of(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        columns = "id, sandbox_id, at, kind, subject, before, status, message, elapsed_ms"
        return connection.execute(f"SELECT {columns} FROM journal ORDER BY id").fetchall()


async def test_every_row_reads_as_it_was_with_defaults_for_what_is_new(path: Path) -> None:
    async with opening(path) as db:
        assert await db.store.get(RUNNING) == RUNNING_NOW
        failed = await db.store.get(FAILED)
        assert failed.failure == Failure("launch_machine", "ec2_error", "no")
        assert (failed.state, failed.meter, failed.machine, failed.release) == (
            State.FAILED,
            None,
            None,
            False,
        )
        assert {sandbox.id for sandbox in await db.store.page(Query())} == {RUNNING, FAILED}
        assert await db.store.page(Query(labels={"team": "x"})) == [RUNNING_NOW]
        assert await db.store.steps(RUNNING) == {"mint_keys": StepStatus.DONE}
        assert await db.keys.get(RUNNING) == SandboxKeys(
            KeyPair("ssh-ed25519 u", Secret("private u")), KeyPair("ssh-ed25519 h", Secret("private h"))
        )
        [attempt] = await db.attempts.past(RUNNING)
        assert (attempt.outcome, attempt.request, attempt.settled_at) == (
            Outcome.LAUNCHED,
            Secret("{}"),
            THEN,
        )
        assert await db.store.add(a_sandbox(), Once("k", "d")) == RUNNING_NOW
        assert await db.ledger.by_sandbox([RUNNING, FAILED]) == {}


async def test_nothing_of_the_journal_is_lost_or_numbered_anew(path: Path) -> None:
    before = await asyncio.to_thread(journal_of, path)
    assert len(before) == 5
    async with opening(path):
        pass
    assert await asyncio.to_thread(journal_of, path) == before
    async with opening(path) as db:
        await db.store.note(None, Noted("orphan_ended", "i-2 was nobody's"))
    after = await asyncio.to_thread(journal_of, path)
    assert after[:-1] == before
    assert (after[-1][0], after[-1][1], after[-1][4]) == (51, None, "orphan_ended")


async def test_it_goes_on_from_there(path: Path) -> None:
    async with opening(path) as db:
        metered = await db.store.save(replace(RUNNING_NOW, meter=Meter(1.0, THEN)))
        stopping = metered.to(State.STOPPING, reason="idle")
        saved = await db.store.save(replace(stopping, meter=Meter(0.0, THEN.replace(hour=15))))
        assert await db.store.get(RUNNING) == saved
        assert await db.ledger.by_sandbox([RUNNING]) == {RUNNING: 3.0}
        assert [event.id for event in await _events(db, 3)] == [5, 9, 10]
    assert [seen.id for seen in in_states(path, {State.STOPPING})] == [RUNNING]


async def test_its_secrets_can_be_sealed_with_another_key(path: Path) -> None:
    new = Key(b"n" * 32)
    async with opening(path):
        pass
    assert await asyncio.to_thread(reseal, path, VAULT, AesGcmVault(new)) == 4
    async with opening(path, new) as db:
        assert await db.store.get(RUNNING) == RUNNING_NOW


async def _events(db: Database, count: int) -> list[Any]:
    async with asyncio.timeout(20), aclosing(db.events.follow(RUNNING, 0)) as events:  # type: ignore[type-var]  # a generator
        return [await anext(events) for _ in range(count)]
