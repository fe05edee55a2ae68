"""Where the configuration is found, what overrides what, and where each value came from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ciab.core.errors import ConfigError
from ciab.server.config import COMMAND_LINE, Loaded, load


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder and a home of our own, both empty."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield


def written(text: str, path: Path | str = "own.toml") -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def where(loaded: Loaded, dotted: str) -> tuple[object, str]:
    path = tuple(dotted.split("."))
    return next((value, source) for key, value, source in loaded.effective() if key == path)


def test_without_anything_there_are_the_defaults() -> None:
    loaded = load(environ={})
    assert loaded.file is None
    assert {source for _, _, source in loaded.effective()} == {"default", 'default for backend = "local"'}


def test_files_are_looked_for_in_order(tmp_path: Path) -> None:
    user = written("server.port = 1", tmp_path / "home/.config/ciab/config.toml")
    assert load(environ={}).file == user
    here = written("server.port = 2", "config.toml")
    assert load(environ={}).file == here
    named = written("server.port = 3", "named.toml")
    assert load(environ={"CIAB_CONFIG": str(named)}).settings.server.port == 3
    given = written("server.port = 4", "given.toml")
    assert load(given, {"CIAB_CONFIG": str(named)}).settings.server.port == 4


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_file_that_was_asked_for_must_be_there(by: str) -> None:
    written("", "config.toml")
    with pytest.raises(ConfigError, match=r"missing\.toml: no such file"):
        if by == "argument":
            load(Path("missing.toml"), {})
        else:
            load(environ={"CIAB_CONFIG": "missing.toml"})


def test_the_command_line_goes_over_the_environment_over_the_file_over_the_default() -> None:
    file = written("[server]\nport = 1\nhost = '127.0.0.2'\nrequest_timeout_secs = 9\n")
    environ = {"CIAB_SERVER__PORT": "2", "CIAB_SERVER__HOST": "127.0.0.3"}
    loaded = load(file, environ, {("server", "port"): 3})
    assert where(loaded, "server.port") == (3, COMMAND_LINE)
    assert where(loaded, "server.host") == ("127.0.0.3", "$CIAB_SERVER__HOST")
    assert where(loaded, "server.request_timeout_secs") == (9, "own.toml:4")
    assert where(loaded, "logging.level") == ("info", "default")


def test_secrets_are_masked() -> None:
    loaded = load(environ={"CIAB_SECURITY__API_KEYS": "secret-one,secret-two"})
    assert where(loaded, "security.api_keys") == (["***", "***"], "$CIAB_SECURITY__API_KEYS")
    assert "secret-one" not in repr(loaded)


@pytest.mark.parametrize(
    ("text", "port", "source"),
    [
        ("", 2222, 'default for backend = "local"'),
        ("runtime.backend = 'ec2'", 22, 'default for backend = "ec2"'),
        ("runtime.ec2.ssh_port = 22", 22, "own.toml:1"),
        ("runtime.ec2.ssh_port = 2200", 2200, "own.toml:1"),
    ],
)
def test_the_default_ssh_port_depends_on_the_backend(text: str, port: int, source: str) -> None:
    loaded = load(written(text), {})
    assert loaded.settings.runtime.ssh_port == port
    assert where(loaded, "runtime.ec2.ssh_port") == (port, source)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = """
        database.url = "sqlite:///data/my.db"
        packer = { work_dir = "work", binary_path = "bin/packer", template_source = "templates/one" }
    """
    settings = load(written(text, "conf/own.toml"), {}).settings
    assert settings.database.path == tmp_path / "conf/data/my.db"
    assert settings.database.key_file == tmp_path / "conf/data/encryption.key"
    assert settings.packer.work_dir == str(tmp_path / "conf/work")
    assert settings.packer.binary_path == str(tmp_path / "conf/bin/packer")
    assert settings.packer.template_source == str(tmp_path / "conf/templates/one")


def test_relative_paths_of_the_environment_are_relative_to_the_working_folder(tmp_path: Path) -> None:
    file = written("", "conf/own.toml")
    loaded = load(file, {"CIAB_DATABASE__URL": "sqlite:///my.db"})
    assert loaded.settings.database.path == tmp_path / "my.db"


def test_the_home_is_expanded_and_what_is_no_path_is_left_alone(tmp_path: Path) -> None:
    settings = load(environ={}).settings
    assert settings.database.path == tmp_path / "home/.local/share/ciab/ciab.db"
    assert settings.packer.work_dir == str(tmp_path / "home/.cache/ciab/packer")
    assert settings.packer.binary_path == "packer"
    assert settings.packer.template_source == "builtin://default-ec2"


def test_lines_are_found_in_every_way_of_writing() -> None:
    text = '''\
# a comment
[server]   # another
public_hosts = [
  "[not.a.table]",
  "b",
]
"port" = 1

[runtime]
ec2.regions.eu-west-1 = { subnet_id = "subnet-1", default_ami = "ami-1" }
[runtime.ec2.tags]
"a.b" = """
[server]"""
c = "x"
'''
    sources = {path: source for path, _, source in load(written(text), {}).effective()}
    assert sources[("server", "public_hosts")] == "own.toml:3"
    assert sources[("server", "port")] == "own.toml:7"
    assert sources[("runtime", "ec2", "regions", "eu-west-1", "default_ami")] == "own.toml:10"
    assert sources[("runtime", "ec2", "tags", "a.b")] == "own.toml:12"
    assert sources[("runtime", "ec2", "tags", "c")] == "own.toml:14"
