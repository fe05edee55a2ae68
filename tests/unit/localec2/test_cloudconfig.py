"""User-data to a value: what CIAB sends is understood, and nothing is ignored in silence."""

import base64
import gzip
import json
from typing import Any

import pytest

from ciab.adapters.ec2.userdata import user_data
from ciab.core.machine import KeyPair
from ciab.core.secret import Secret
from ciab.localec2.host import MachineError
from ciab.localec2.process.cloudconfig import File, User, read_cloud_config
from ciab.localec2.process.sshdconfig import SshdSettings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAn0 me"
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n"

SENT = f"""#cloud-config
users:
  - default
  - name: ubuntu
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    lock_passwd: true
    ssh_authorized_keys: ["{KEY}"]
disable_root: true
ssh_pwauth: false
ssh_deletekeys: true
ssh_keys:
  ed25519_private: |
    -----BEGIN OPENSSH PRIVATE KEY-----
    secret
    -----END OPENSSH PRIVATE KEY-----
  ed25519_public: "ssh-ed25519 AAAA host"
write_files:
  - path: /etc/ssh/sshd_config.d/10-ciab.conf
    permissions: "0600"
    content: |
      Port 2222
      MaxSessions 64
      ClientAliveInterval 15
runcmd:
  - echo hello
  - [touch, "a b"]
""".encode()


def cloud_config(**document: Any) -> bytes:
    return b"#cloud-config\n" + json.dumps(document).encode()


def test_what_ciab_sends_is_understood() -> None:
    config = read_cloud_config(SENT)
    assert config.users == (User("ubuntu", "/bin/bash", (KEY,)),)
    assert config.host_keys == (PRIVATE,)
    assert config.sshd == SshdSettings(port=2222, max_sessions=64, client_alive_interval=15)
    assert config.files == (
        File(
            "/etc/ssh/sshd_config.d/10-ciab.conf",
            b"Port 2222\nMaxSessions 64\nClientAliveInterval 15\n",
            0o600,
        ),
    )
    assert config.commands == ("echo hello", ("touch", "a b"))


def test_what_the_ec2_adapter_makes_is_understood() -> None:
    host_key = KeyPair("ssh-ed25519 AAAA host", Secret(PRIVATE))
    config = read_cloud_config(user_data(host_key, KEY, "agent", 2222, 3600).encode())
    assert config.users == (User("ubuntu"), User("agent", "/bin/bash", (KEY,)))
    assert config.host_keys == (PRIVATE,)
    assert config.sshd.port == 2222 and config.sshd.max_sessions == 64
    assert config.sshd.client_alive_interval == 15 and config.sshd.stream_local_bind_unlink
    (guardian,) = config.boot_commands
    assert (guardian[0], guardian[-2:]) == ("python3", ("agent", "3600"))
    assert read_cloud_config(user_data(host_key, KEY, "agent", 2222, 0).encode()).boot_commands == ()


def test_gzip_is_the_same() -> None:
    assert read_cloud_config(gzip.compress(SENT)) == read_cloud_config(SENT)


def test_without_user_data_there_is_ubuntu_with_the_key_pair() -> None:
    config = read_cloud_config(None, KEY + "\n")
    assert config.users == (User("ubuntu", "/bin/bash", (KEY,)),)
    assert config.host_keys == ()
    assert config.sshd.port is None and config.sshd.max_sessions == 10


def test_top_level_keys_and_the_key_pair_belong_to_the_first_user() -> None:
    data = cloud_config(users=[{"name": "agent", "ssh_authorized_keys": ["a"]}], ssh_authorized_keys=["b"])
    assert read_cloud_config(data, "c").users == (User("agent", "/bin/bash", ("a", "b", "c")),)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"packages": ["git"]}, "'packages'"),
        ({"users": [{"name": "a", "passwd": "x"}]}, "'passwd'"),
        ({"users": [{"name": "root"}]}, "'root'"),
        ({"users": [{"name": "../a"}]}, "'../a'"),
        ({"users": [{"name": "a", "lock_passwd": False}]}, "lock_passwd"),
        ({"users": []}, "users"),
        ({"ssh_pwauth": True}, "ssh_pwauth"),
        ({"disable_root": False}, "disable_root"),
        ({"ssh_authorized_keys": ["a\nb"]}, "ssh_authorized_keys"),
        ({"ssh_keys": {"dsa_private": PRIVATE}}, "dsa_private"),
        ({"ssh_keys": {"ed25519_private": "no key"}}, "ed25519_private"),
        ({"write_files": [{"path": "relative"}]}, "'relative'"),
        ({"write_files": [{"path": "/etc/../opt/a"}]}, "'/etc/../opt/a'"),
        ({"write_files": [{"path": "/opt/tool"}]}, "'/opt/tool'"),
        ({"write_files": [{"path": "/etc/a", "append": True}]}, "'append'"),
        ({"write_files": [{"path": "/etc/a", "permissions": 420}]}, "permissions of /etc/a"),
        ({"write_files": [{"path": "/etc/a", "encoding": "rot13"}]}, "'rot13'"),
        ({"runcmd": [{"a": 1}]}, "runcmd"),
        ({"runcmd": "ls"}, "runcmd"),
    ],
)
def test_anything_else_is_refused_by_name(document: dict[str, Any], named: str) -> None:
    with pytest.raises(MachineError) as refused:
        read_cloud_config(cloud_config(**document))
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"#!/bin/sh\necho", "'#cloud-config'"),
        (b"#cloud-config-archive\n[]", "'#cloud-config'"),
        (b"#cloud-config\n- a", "mapping"),
        (b"\x1f\x8bxx", "gzip"),
        (gzip.compress(SENT)[:-20], "cut off"),
        (gzip.compress(b"#cloud-config\n" + b" " * (1 << 21)), "1 MiB"),
    ],
)
def test_other_formats_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(MachineError, match=said):
        read_cloud_config(data)


def test_an_error_never_quotes_a_value() -> None:
    broken = SENT.replace(b"ssh_keys:\n", b"ssh_keys: {\n")
    with pytest.raises(MachineError, match=r"not valid YAML \(line \d+\)") as refused:
        read_cloud_config(broken)
    assert "PRIVATE KEY" not in str(refused.value)
    assert "secret" not in repr(read_cloud_config(SENT))


def test_contents_may_be_base64_or_gzip() -> None:
    packed = base64.b64encode(gzip.compress(b"text")).decode()
    files = [
        {"path": "/etc/a", "encoding": "b64", "content": base64.b64encode(b"\xff\x00").decode()},
        {"path": "/etc/b", "encoding": "gz+b64", "content": packed},
    ]
    assert [file.content for file in read_cloud_config(cloud_config(write_files=files)).files] == [
        b"\xff\x00",
        b"text",
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("Prot 22", "'prot'"),
        ("PasswordAuthentication yes", "'passwordauthentication'"),
        ("Port no", "'port' must be a number"),
        ("Port 70000", "'port' must be a number"),
        ("Match User a", "'match'"),
    ],
)
def test_sshd_settings_that_would_have_no_effect_are_refused(lines: str, said: str) -> None:
    files = [{"path": "/etc/ssh/sshd_config.d/a.conf", "content": lines}]
    with pytest.raises(MachineError, match=said):
        read_cloud_config(cloud_config(write_files=files))


def test_of_an_sshd_setting_given_twice_the_first_file_counts() -> None:
    files = [
        {"path": "/etc/ssh/sshd_config.d/20.conf", "content": "port=3333\nAcceptEnv A B\n# Port 1\n"},
        {"path": "/etc/ssh/sshd_config.d/10.conf", "content": "Port 2222\nAcceptEnv C # why\nUseDNS no"},
    ]
    sshd = read_cloud_config(cloud_config(write_files=files)).sshd
    assert sshd == SshdSettings(port=2222, accept_env=("LANG", "LC_*", "C", "A", "B"))


def test_boot_commands_are_texts_or_lists_like_runcmd() -> None:
    made = read_cloud_config(b'#cloud-config\nbootcmd: ["echo early", [touch, a b]]\n')
    assert made.boot_commands == ("echo early", ("touch", "a b"))
    assert made.commands == ()
    with pytest.raises(MachineError, match="bootcmd: each entry"):
        read_cloud_config(b"#cloud-config\nbootcmd: [{a: b}]\n")
