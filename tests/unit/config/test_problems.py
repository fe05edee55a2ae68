"""What is said about a configuration that cannot be used."""

from pathlib import Path

import pytest

from ciab.core.errors import ConfigError
from ciab.server.config import load

NONE_SUCH = ": there is no such key; the nearest valid key is "


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    file = tmp_path / "c.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        load(file, environ)
    return [line.removeprefix(f"{tmp_path}/") for line in refusal.value.message.splitlines()]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "server.prot = 1",
            "c.toml:1: server.prot: there is no such key; the nearest valid key is server.port",
        ),
        (
            "\n[runtime.ec2]\nregoin = 'x'",
            "c.toml:3: runtime.ec2.regoin: there is no such key; the nearest valid key is runtime.ec2.region",
        ),
        (
            "[runtime.ec2.regions.us-x]\nsubnet = 'x'",
            f"c.toml:2: runtime.ec2.regions.us-x.subnet{NONE_SUCH}runtime.ec2.regions.us-x.subnet_id",
        ),
        (
            "[loging]\nlevel = 'info'",
            "c.toml:1: loging: there is no such key; the nearest valid key is logging",
        ),
        ("server.port = '9090'", "c.toml:1: server.port: must be a whole number"),
        ("server.port = 90.5", "c.toml:1: server.port: must be a whole number"),
        ("server.port = true", "c.toml:1: server.port: must be a whole number"),
        ("server.port = 65536", "c.toml:1: server.port: must be 65535 or less"),
        ("server.port = -1", "c.toml:1: server.port: must be 0 or more"),
        ("server.public_hosts = 'a'", "c.toml:1: server.public_hosts: must be a list in brackets"),
        ("server.public_hosts = [1]", "c.toml:1: server.public_hosts[0]: must be a text in quotes"),
        ("server = 1", "c.toml:1: server: must be a table"),
        ("runtime.ec2.spot = 'yes'", "c.toml:1: runtime.ec2.spot: must be true or false"),
        ("runtime.backend = 'docker'", "c.toml:1: runtime.backend: must be 'local' or 'ec2'"),
        ("reaper.interval_secs = 0", "c.toml:1: reaper.interval_secs: must be 1 or more"),
        ("reaper.grace_secs = 0", "c.toml:1: reaper.grace_secs: must be 1 or more"),
        ("reaper.max_per_sweep = 0", "c.toml:1: reaper.max_per_sweep: must be 1 or more"),
        ("server.watch_interval_secs = 0", "c.toml:1: server.watch_interval_secs: must be 1 or more"),
        ("reaper.grace = 9", f"c.toml:1: reaper.grace{NONE_SUCH}reaper.grace_secs"),
        ("budgets.per_day = inf", "c.toml:1: budgets.per_day: must be a finite number"),
        ("budgets.per_day = -0.5", "c.toml:1: budgets.per_day: must be 0 or more"),
        (
            "runtime.ec2.prices.\"t3.medium\" = '1'",
            'c.toml:1: runtime.ec2.prices."t3.medium": must be a number',
        ),
        (
            "server.cors_origins = ['*']",
            'c.toml:1: server.cors_origins[0]: must be an origin, like "https://ciab.example.org"',
        ),
        (
            "agents.default_provider = 'copilot'",
            "c.toml:1: agents: default_provider must be one of claude-code, codex, gemini, cursor, command",
        ),
        (
            "agents.providers.claude-code.enabled = false",
            'c.toml:1: agents: default_provider = "claude-code" is a provider that is not enabled',
        ),
        (
            "database.url = 'postgresql://h/db'",
            "c.toml:1: database.url: postgresql databases are not supported yet; use sqlite:///PATH",
        ),
    ],
)
def test_file_line_key_and_remedy_are_named(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


@pytest.mark.parametrize("kind", ["io1", "io2"])
def test_provisioned_iops_volumes_need_their_iops(tmp_path: Path, kind: str) -> None:
    [problem] = problems(tmp_path, f"[runtime.ec2]\nroot_volume_type = '{kind}'\n")
    assert problem.startswith("c.toml:1: runtime.ec2: ")
    assert "root_volume_iops" in problem


def test_a_spot_instance_cannot_hibernate(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "[runtime.ec2]\nspot = true\nhibernate_on_pause = true\n")
    assert problem.startswith(
        "c.toml:1: runtime.ec2: spot = true and hibernate_on_pause = true exclude each other"
    )


def test_what_hibernates_must_stop(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "[runtime.ec2]\nstop_on_pause = false\nhibernate_on_pause = true\n")
    assert "hibernate_on_pause = true needs stop_on_pause = true" in problem


@pytest.mark.parametrize("action", ["pause", "stop", "terminate"])
def test_spot_goes_with_every_idle_action(action: str) -> None:
    environ = {"CIAB_RUNTIME__EC2__SPOT": "true", "CIAB_RUNTIME__EC2__IDLE_ACTION": action}
    assert load(environ=environ).settings.runtime.ec2.idle_action == action


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "ciab.example.org"])
def test_a_host_that_is_not_loopback_needs_keys(tmp_path: Path, host: str) -> None:
    [problem] = problems(tmp_path, f"server.host = '{host}'")
    assert "security.api_keys" in problem
    file = tmp_path / "c.toml"
    assert load(file, {"CIAB_SECURITY__API_KEYS": "a-key"}).settings.server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert load(environ={"CIAB_SERVER__HOST": host}).settings.security.api_keys == []


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "server.port = 'x'\nserver.prot = 1\n",
        CIAB_LOGGING__LEVEL="loud",
        CIAB_RUNTIME__EC2__SPOT="maybe",
        CIAB_SERVER__HOTS="x",
    )
    assert sorted(line.split(": ")[0] for line in found) == [
        "$CIAB_LOGGING__LEVEL",
        "$CIAB_RUNTIME__EC2__SPOT",
        "$CIAB_SERVER__HOTS",
        "c.toml:1",
        "c.toml:2",
    ]


def test_a_secret_is_not_shown_when_it_is_wrong(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "", CIAB_SECURITY__API_KEYS='["my secret key"]')
    assert problem.startswith("$CIAB_SECURITY__API_KEYS: security.api_keys[0]: ")
    assert "my secret" not in problem


@pytest.mark.parametrize("content", [b"server = ", b"[a\n", b"a = 1\na = 2\n", b"\xff"])
def test_a_file_that_is_no_toml_is_named_with_the_place(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.toml: cannot be read: "):
        load(file, {})
