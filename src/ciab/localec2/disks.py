"""An instance's folder on the host: its disk, and what the host notes about it.

home/ and var/ belong to the machine; the rest is never visible in it. Nothing is ever written into
the machine's part from here: a symbolic link left there would lead into the host's own files.
"""

import os
import shutil
import uuid
from pathlib import Path

import asyncssh

CONSOLE_BYTES = 65536


def prepare(folder: Path) -> bool:
    """Make the folder ready for a boot. True if the disk has never been booted."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in ("home", "var", "var/tmp"):
        (folder / part).mkdir(exist_ok=True)
    (folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
    return not (folder / "booted").exists()


def mark_booted(folder: Path) -> None:
    (folder / "booted").touch()


def own_host_key(folder: Path) -> str:
    """The key that a machine makes on its first boot when the user-data brings none."""
    file = folder / "ssh_host_ed25519_key"
    if not file.exists():
        text = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(text)
    return file.read_text()


def open_console(folder: Path, *, fresh: bool) -> int:
    """A descriptor that appends to the console file, emptied for a new boot."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if fresh else 0)
    return os.open(folder / "console.log", flags, 0o600)


def read_console(folder: Path) -> str:
    """The last 64 KB; nothing if there is none."""
    try:
        with (folder / "console.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - CONSOLE_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def remove(folder: Path) -> None:
    """Remove it all, also folders that a process in the machine has locked."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except PermissionError:
        for root, folders, _ in os.walk(folder):
            for name in folders:
                inner = Path(root, name)
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(folder)
