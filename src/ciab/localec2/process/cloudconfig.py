"""User-data to a value: exactly the part of cloud-config that CIAB sends.

Everything else is refused by name: a machine that silently ignored a key would prove nothing about
the real interpreter. Pure: bytes in, a frozen value out. Source of the keys' meaning: cloud-init's
module reference (users and groups, SSH, write files, bootcmd, runcmd).
"""

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from ciab.localec2.host import MachineError
from ciab.localec2.process.sshdconfig import DROP_INS, SshdSettings, read_sshd_settings

DEFAULT_USER = "ubuntu"
_MAX_BYTES = 1 << 20
_KEYS = {"users", "ssh_authorized_keys", "ssh_keys", "ssh_deletekeys", "ssh_pwauth", "disable_root"}
_KEYS |= {"write_files", "bootcmd", "runcmd"}
_USER_KEYS = {"name", "shell", "sudo", "lock_passwd", "ssh_authorized_keys", "groups", "gecos"}
_FILE_KEYS = {"path", "content", "permissions", "encoding", "owner"}
_FIXED = {"ssh_deletekeys": True, "ssh_pwauth": False, "disable_root": True}
_KEY_NAME = re.compile(r"(ed25519|ecdsa|rsa)_(private|public)")
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class User:
    """A login. `authorized_keys` are OpenSSH lines."""

    name: str
    shell: str = "/bin/bash"
    authorized_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file to write at boot; `path` is below /etc or a user's /home folder."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """What a machine is to become."""

    users: tuple[User, ...] = (User(DEFAULT_USER),)
    host_keys: tuple[str, ...] = field(default=(), repr=False)
    """Private keys in OpenSSH's format."""
    files: tuple[File, ...] = field(default=(), repr=False)
    boot_commands: tuple[str | tuple[str, ...], ...] = field(default=(), repr=False)
    """Before anything else, at every boot. A text is for the shell, a tuple is an argv."""
    commands: tuple[str | tuple[str, ...], ...] = field(default=(), repr=False)
    """At the first boot, when logins are possible; of the same form."""
    sshd: SshdSettings = field(default_factory=SshdSettings)


def read_cloud_config(user_data: bytes | None, public_key: str | None = None) -> CloudConfig:
    """The machine that this user-data asks for; `public_key` (KeyName's) may log in as the first user.

    Raises MachineError that names the key it does not know, never a value.
    """
    document = _document(user_data or b"#cloud-config\n{}")
    _refuse_unknown(document, _KEYS, "user-data")
    for key, wanted in _FIXED.items():
        if document.get(key, wanted) is not wanted:
            raise MachineError(f"{key}: a local machine only knows {str(wanted).lower()}; leave it out.")
    users = _users(document.get("users", ["default"]))
    first_keys = _strings(document, "ssh_authorized_keys") + ((public_key.strip(),) if public_key else ())
    users = (replace(users[0], authorized_keys=users[0].authorized_keys + first_keys), *users[1:])
    folders = ("/etc/", *(f"/home/{user.name}/" for user in users))
    files = tuple(_file(entry, folders) for entry in _list(document, "write_files"))
    drop_ins = sorted((f.path, f.content) for f in files if f.path.startswith(DROP_INS))
    return CloudConfig(
        users=users,
        host_keys=_host_keys(document.get("ssh_keys", {})),
        files=files,
        boot_commands=tuple(_command("bootcmd", entry) for entry in _list(document, "bootcmd")),
        commands=tuple(_command("runcmd", entry) for entry in _list(document, "runcmd")),
        sshd=read_sshd_settings(text.decode("utf-8", "replace") for _, text in drop_ins),
    )


def _document(user_data: bytes) -> dict[str, Any]:
    if user_data[:2] == b"\x1f\x8b":
        user_data = _gunzip(user_data)
    if not re.match(rb"#cloud-config\s*(\n|$)", user_data):
        raise MachineError(
            "A local machine understands user-data that begins with '#cloud-config'; "
            "scripts and other formats need a machine with the real cloud-init."
        )
    try:
        document = yaml.safe_load(user_data)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        # the parser's message quotes the text, which may be a key: leave it out
        raise MachineError(f"The user-data is not valid YAML{where}.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise MachineError("The user-data must be a mapping of cloud-config keys.")
    return document


def _gunzip(data: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        text = unzip.decompress(data, _MAX_BYTES)
    except zlib.error as exc:
        raise MachineError("The user-data is not valid gzip.") from exc
    if not unzip.eof:
        raise MachineError("The gzipped user-data is cut off, or larger than 1 MiB.")
    return text


def _refuse_unknown(given: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise MachineError(
                f"{where}: a local machine does not know the cloud-config key {key!r}; "
                f"it knows {', '.join(sorted(known))}."
            )


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key) or []
    if not isinstance(value, list):
        raise MachineError(f"{key}: must be a list.")
    return value


def _strings(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = _list(document, key)
    if not all(isinstance(value, str) and "\n" not in value.strip() for value in values):
        raise MachineError(f"{key}: must be a list of single lines.")
    return tuple(value.strip() for value in values)


def _users(entries: Any) -> tuple[User, ...]:
    if not isinstance(entries, list) or not entries:
        raise MachineError("users: must be a list of 'default' and mappings.")
    users: dict[str, User] = {}
    for entry in entries:
        user = User(DEFAULT_USER) if entry == "default" else _user(entry)
        known = users.get(user.name)
        keys = known.authorized_keys + user.authorized_keys if known else user.authorized_keys
        users[user.name] = replace(user, authorized_keys=keys)
    return tuple(users.values())


def _user(entry: Any) -> User:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise MachineError("users: each entry is 'default' or a mapping with a name.")
    _refuse_unknown(entry, _USER_KEYS, "users")
    name, shell = entry["name"], entry.get("shell", "/bin/bash")
    if not _USER_NAME.fullmatch(name) or name == "root":
        raise MachineError(f"users: {name!r} cannot be a login of a local machine.")
    if entry.get("lock_passwd", True) is not True:
        raise MachineError("users: lock_passwd can only be true; a local machine has no passwords.")
    if not isinstance(shell, str) or not shell.startswith("/"):
        raise MachineError(f"users: the shell of {name} must be an absolute path.")
    return User(name, shell, _strings(entry, "ssh_authorized_keys"))


def _host_keys(entries: Any) -> tuple[str, ...]:
    if not isinstance(entries, dict):
        raise MachineError("ssh_keys: must be a mapping such as ed25519_private, ed25519_public.")
    private = []
    for name, text in entries.items():
        match = _KEY_NAME.fullmatch(str(name))
        if not match or not isinstance(text, str):
            raise MachineError(f"ssh_keys: {str(name)!r} is not known, or not a text.")
        if match[2] == "private":
            if not text.lstrip().startswith("-----BEGIN "):
                raise MachineError(f"ssh_keys: {name} is not a private key in PEM form.")
            private.append(text)
    return tuple(private)


def _file(entry: Any, folders: tuple[str, ...]) -> File:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise MachineError("write_files: each entry is a mapping with a path.")
    _refuse_unknown(entry, _FILE_KEYS, "write_files")
    path = entry["path"]
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise MachineError(f"write_files: {path!r} must be an absolute path without '..'.")
    if not path.startswith(folders):
        raise MachineError(
            f"write_files: {path!r} cannot be written on a local machine; "
            f"what is below {' and '.join(folders)} can."
        )
    mode = entry.get("permissions", "0644")
    if not isinstance(mode, str) or not re.fullmatch(r"0?[0-7]{3}", mode):
        raise MachineError(f"write_files: permissions of {path} must be octal in quotes, such as '0644'.")
    return File(path, _content(path, entry), int(mode, 8))


def _content(path: str, entry: Mapping[str, Any]) -> bytes:
    content, encoding = entry.get("content", ""), entry.get("encoding", "text/plain")
    data = content if isinstance(content, bytes) else str(content).encode()
    steps = {
        "text/plain": (False, False),
        "b64": (True, False),
        "base64": (True, False),
        "gz+b64": (True, True),
        "gzip+base64": (True, True),
    }.get(encoding)
    if steps is None:
        raise MachineError(f"write_files: the encoding {encoding!r} of {path} is not known.")
    try:
        data = base64.b64decode(data, validate=False) if steps[0] else data
    except binascii.Error as exc:
        raise MachineError(f"write_files: the content of {path} is not base64.") from exc
    return _gunzip(data) if steps[1] else data


def _command(key: str, entry: Any) -> str | tuple[str, ...]:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list) and entry and all(isinstance(part, str | int) for part in entry):
        return tuple(str(part) for part in entry)
    raise MachineError(f"{key}: each entry is a text for the shell or a list of arguments.")
