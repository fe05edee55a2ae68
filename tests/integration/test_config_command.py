"""`ciab config` as it is typed."""

import base64
import json
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ciab.adapters.db import open_database
from ciab.adapters.vault import AesGcmVault, parse_key
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from tests.databases import KEY, a_sandbox, ticking

Ciab = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ciab(tmp_path: Path) -> Ciab:
    """The command in an empty folder, with an empty home."""

    def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "ciab.cli.main", "config", *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environ,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_init_writes_a_file_that_is_found_and_valid(ciab: Ciab, tmp_path: Path) -> None:
    assert ciab("init").returncode == 0
    file = tmp_path / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    validated = ciab("validate", "-o", "json")
    assert validated.returncode == 0
    assert json.loads(validated.stdout) == {"valid": True, "file": "config.toml", "problems": []}


def test_init_never_replaces_a_file_unless_told_to(ciab: Ciab, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("# mine")
    refused = ciab("init", "--path", "mine.toml")
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert file.read_text() == "# mine"
    assert ciab("init", "--path", "mine.toml", "--force", "-o", "json").stdout == '{"file": "mine.toml"}\n'
    assert "[server]" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(found.name for found in tmp_path.iterdir()) == ["mine.toml"]


def test_show_says_what_counts_and_why_and_keeps_secrets(ciab: Ciab, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('[security]\napi_keys = ["super-secret-key"]\n')
    shown = ciab("show", "--config", "own.toml", CIAB_SERVER__PORT="9191")
    lines = {line.split()[0]: line.split()[1:] for line in shown.stdout.splitlines()}
    assert lines["server.port"] == ["9191", "$CIAB_SERVER__PORT"]
    assert lines["security.api_keys"] == ['["***"]', "own.toml:2"]
    assert lines["server.host"] == ['"127.0.0.1"', "default"]
    as_json = ciab("show", "--config", "own.toml", "-o", "json")
    values = json.loads(as_json.stdout)["values"]
    assert values["security.api_keys"] == {"value": ["***"], "source": "own.toml:2"}
    assert "super-secret" not in shown.stdout + as_json.stdout


def test_validate_has_a_line_for_each_problem(ciab: Ciab, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("server.port = 'x'\nserver.prot = 1\n")
    validated = ciab("validate", "bad.toml")
    assert validated.returncode == 1
    assert sorted(validated.stderr.splitlines()) == [
        "bad.toml:1: server.port: must be a whole number",
        "bad.toml:2: server.prot: there is no such key; the nearest valid key is server.port",
    ]
    as_json = ciab("validate", "bad.toml", "-o", "json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["valid"] is False
    assert len(json.loads(as_json.stdout)["problems"]) == 2


async def test_rotate_key_from_one_variable_to_another(ciab: Ciab, tmp_path: Path) -> None:
    path = tmp_path / "ciab.db"
    async with open_database(path, AesGcmVault(KEY), ticking(), 1000) as db:
        await db.store.add(a_sandbox("box", spec=Spec("command", env_vars={"TOKEN": Secret("s3cret")})))
    new = base64.b64encode(secrets.token_bytes(32)).decode()
    environ = {
        "CIAB_DATABASE__URL": f"sqlite:///{path}",
        "CIAB_ENCRYPTION_KEY": KEY.material.hex(),
        "NEXT_KEY": new,
    }
    refused = ciab("rotate-key", **environ)
    assert refused.returncode == 1
    assert "--new-key-env" in refused.stderr
    rotated = ciab("rotate-key", "--new-key-env", "NEXT_KEY", "-o", "json", **environ)
    assert json.loads(rotated.stdout) == {"sealed": 1, "key_in": "$CIAB_ENCRYPTION_KEY", "by_hand": True}
    assert new not in rotated.stdout + rotated.stderr
    async with open_database(path, AesGcmVault(parse_key(new, "here")), ticking(), 1000) as db:
        assert (await db.store.lookup("box")).spec.env_vars == {"TOKEN": Secret("s3cret")}


def test_rotate_key_refuses_a_bad_key_without_showing_it(ciab: Ciab) -> None:
    refused = ciab("rotate-key", "--new-key-env", "NEXT_KEY", NEXT_KEY="hunter2")
    assert refused.returncode == 1
    assert "$NEXT_KEY is no encryption key" in refused.stderr
    assert "hunter2" not in refused.stderr
