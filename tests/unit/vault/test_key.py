"""Where the encryption key comes from, and which are refused."""

import base64
import secrets
import stat
import threading
from pathlib import Path

import pytest

from ciab.adapters.vault import Key, load_keys, parse_key, read_key_file, replace_key_file
from ciab.core.errors import ConfigError

ENV = "CIAB_ENCRYPTION_KEY"
RAW = bytes(range(224, 256))


@pytest.mark.parametrize(
    "text",
    [
        RAW.hex(),
        RAW.hex().upper(),
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode().rstrip("="),
        f"  {RAW.hex()}\n",
    ],
)
def test_hex_and_base64_are_read(text: str) -> None:
    assert parse_key(text, "here") == Key(RAW)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2hunter2",
        RAW.hex()[:-1],
        RAW.hex() + "00",
        "g" * 64,
        "ключ" * 8,
        base64.b64encode(RAW[:31]).decode(),
    ],
)
def test_anything_else_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_key(text, "$SOME_KEY")
    assert "$SOME_KEY" in refusal.value.message
    assert not text or text not in f"{refusal.value.message}{refusal.value.hint}"


def test_a_key_does_not_print() -> None:
    assert "\\xe0" not in repr(Key(RAW))


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "encryption.key"
    load_keys(ENV, file, {}, may_make=True)
    loaded = load_keys(ENV, file, {ENV: RAW.hex()}, may_make=False)
    assert (loaded.keys, loaded.from_env, loaded.made) == ((Key(RAW),), True, False)


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "encryption.key"
    made = load_keys(ENV, file, {}, may_make=True)
    again = load_keys(ENV, file, {}, may_make=True)
    assert made.made
    assert not again.made
    assert made.keys == again.keys
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_two_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    file = tmp_path / "encryption.key"
    loaded: list[tuple[Key, ...]] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        loaded.append(load_keys(ENV, file, {}, may_make=True).keys)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 8
    assert len(set(loaded)) == 1


def test_a_database_without_its_key_gets_no_new_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=ENV):
        load_keys(ENV, tmp_path / "encryption.key", {}, may_make=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o610])
def test_a_key_file_that_others_may_read_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "encryption.key"
    replace_key_file(file, Key.fresh())
    file.chmod(mode)
    with pytest.raises(ConfigError) as refusal:
        read_key_file(file)
    assert refusal.value.hint == f"chmod 600 {file}"


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\xff\xfe"])
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "encryption.key"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match=r"encryption\.key"):
        load_keys(ENV, file, {}, may_make=True)


def test_a_key_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        load_keys(ENV, tmp_path / "file" / "encryption.key", {}, may_make=True)


def test_a_key_file_may_hold_two_keys(tmp_path: Path) -> None:
    new, old = Key(secrets.token_bytes(32)), Key(RAW)
    file = tmp_path / "encryption.key"
    replace_key_file(file, old)
    replace_key_file(file, new, old)
    assert read_key_file(file) == (new, old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
