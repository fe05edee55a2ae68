"""Key pairs: fresh ones, and the operator's own by name."""

import os
import subprocess
from pathlib import Path

import asyncssh
import pytest

from ciab.adapters.ssh.keys import mint_key, named_key
from ciab.core.errors import ConfigError
from ciab.core.machine import KeyPair


def public_of(pair: KeyPair) -> str:
    return asyncssh.import_private_key(pair.private.reveal()).export_public_key("openssh").decode().strip()


def put(folder: Path, text: bytes, mode: int = 0o600) -> Path:
    path = folder / "ops.pem"
    path.write_bytes(text)
    path.chmod(mode)
    return path


def test_a_pair_fits_and_says_nothing_about_who_made_it() -> None:
    minted = mint_key()
    assert public_of(minted) == minted.public
    kind, _, comment = minted.public.split(" ")
    assert (kind, comment) == ("ssh-ed25519", "ciab")
    assert mint_key().public != minted.public
    assert "PRIVATE KEY" not in repr(minted)


@pytest.mark.parametrize(
    ("algorithm", "form"),
    [
        ("ssh-rsa", "pkcs1-pem"),
        ("ssh-rsa", "pkcs8-pem"),
        ("ssh-ed25519", "openssh"),
        ("ssh-ed25519", "pkcs8-pem"),
        ("ecdsa-sha2-nistp256", "pkcs1-pem"),
    ],
)
async def test_a_named_key_is_read_in_every_form_that_ec2_and_openssh_give(
    tmp_path: Path, algorithm: str, form: str
) -> None:
    key = asyncssh.generate_private_key(algorithm, comment="alice@laptop")
    put(tmp_path, key.export_private_key(form))
    pair = await named_key("ops", tmp_path)
    assert public_of(pair) == pair.public
    assert pair.public.split()[:2] == key.export_public_key("openssh").decode().split()[:2]
    assert "alice" not in pair.public
    assert (await named_key("ops", tmp_path)).public == pair.public


async def test_the_folder_is_the_users_own_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    key = asyncssh.generate_private_key("ssh-ed25519")
    put(tmp_path / ".ssh", key.export_private_key("openssh"))
    assert (await named_key("ops")).public.split()[1] in key.export_public_key("openssh").decode()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
async def test_a_key_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = put(tmp_path, asyncssh.generate_private_key("ssh-ed25519").export_private_key("openssh"), mode)
    with pytest.raises(ConfigError, match="by other users") as caught:
        await named_key("ops", tmp_path)
    assert caught.value.hint == f"chmod 600 {path}"


async def test_a_key_that_is_not_there_names_the_file_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"key_pair_name, .*/ops\.pem: No such file"):
        await named_key("ops", tmp_path)


async def test_what_is_no_file_is_refused_and_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "folder.pem").mkdir()
    os.mkfifo(tmp_path / "pipe.pem", 0o600)
    for name in ("folder", "pipe"):
        with pytest.raises(ConfigError, match="is no file"):
            await named_key(name, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else's")
async def test_a_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, asyncssh.generate_private_key("ssh-ed25519").export_private_key("openssh"))
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        await named_key("ops", tmp_path)


@pytest.mark.parametrize(
    "text", [b"", b"SECRETSECRET", b"\xff\xfe\x00", b"-----BEGIN RSA PRIVATE KEY-----\nSECRET"]
)
async def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: bytes) -> None:
    put(tmp_path, text)
    with pytest.raises(ConfigError, match="no private key that can be read") as caught:
        await named_key("ops", tmp_path)
    assert "SECRET" not in f"{caught.value.message} {caught.value.hint} {caught.value.__cause__}"


async def test_a_public_key_is_no_private_one(tmp_path: Path) -> None:
    put(tmp_path, asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh"))
    with pytest.raises(ConfigError, match="no private key"):
        await named_key("ops", tmp_path)


@pytest.mark.parametrize("form", ["RFC4716", "PKCS8", "PEM"])
async def test_an_encrypted_key_is_refused_with_the_way_out(tmp_path: Path, form: str) -> None:
    path = tmp_path / "ops.pem"
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", "a passphrase", "-f", path]
    subprocess.run(command, check=True)
    with pytest.raises(ConfigError, match="is encrypted") as caught:
        await named_key("ops", tmp_path)
    assert caught.value.hint == f"remove the passphrase: ssh-keygen -p -f {path}"


@pytest.mark.parametrize("name", ["", "../id", "a/b", "..", ".hidden", "a\\b", "a b", "a\n", "a\x00b"])
async def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a file"):
        await named_key(name, tmp_path)
