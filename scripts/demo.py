"""What `make demo` shows: a sandbox on this machine, from nothing to its end, through the real server.

Everything happens on loopback, in a folder below .demo/ that is removed at the end, also after ^C or a
failure. It needs no root, no AWS account and no network, and reads no configuration but its own.
"""

import hashlib
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ciab.adapters.db import holder_of

ROOT = Path(__file__).resolve().parent.parent
CIAB = Path(sys.executable).with_name("ciab")
START_SECS = 60.0
END_SECS = 60.0
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TERM", "TMPDIR")

STREAMING = 'for i in 1 2 3; do echo "line $i, $(date +%T)"; sleep 1; done; echo "$GREETING" >&2'


class DemoFailed(Exception):
    """Something did not do what this demo says it does."""


def main() -> int:
    """The exit code: 0 when everything was shown and nothing was left behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    began = time.monotonic()
    _say("CIAB on this machine: a sandbox from nothing to its end. No AWS account, no root, loopback only.")
    try:
        with _folder() as folder, _server(folder) as env:
            _show(folder, env)
            _step("The server ends, and with it everything that it started")
            _ciab(env, "server", "stop")
    except KeyboardInterrupt:
        _say("\nInterrupted; everything that was started has been taken down.")
        return 130
    except DemoFailed as failure:
        _say(f"\nThe demo failed: {failure}")
        return 1
    _say(f"\nDone in {time.monotonic() - began:.0f} s. No process, port or file is left. Next: README.md")
    return 0


def _show(folder: Path, env: dict[str, str]) -> None:
    _step("A sandbox is made: an EC2 call, a boot, an SSH login with keys of its own, step by step")
    _ciab(
        env,
        "sandbox",
        "create",
        "--provider",
        "command",
        "--name",
        "demo",
        "-e",
        "GREETING=hello from the sandbox",
    )
    _ciab(env, "sandbox", "list")

    _step("A command runs in it; its output comes as it happens, stdout and stderr apart")
    _ciab(env, "sandbox", "exec", "demo", "--", "bash", "-c", STREAMING)
    _step("A command's exit code is ours")
    _ciab(env, "sandbox", "exec", "demo", "--", "sh", "-c", "exit 7", expected=7)

    _step("A file goes in, is looked at there, and comes out the same")
    original, returned = folder / "a file.bin", folder / "returned.bin"
    original.write_bytes(secrets.token_bytes(1_000_000))
    _ciab(env, "files", "upload", "demo", str(original), "data/a file.bin")
    _ciab(env, "sandbox", "exec", "demo", "--", "sha256sum", "data/a file.bin")
    _ciab(env, "files", "list", "demo", "data")
    _ciab(env, "files", "download", "demo", "data/a file.bin", str(returned))
    if original.read_bytes() != returned.read_bytes():
        raise DemoFailed("the file came back changed")
    _say(f"  the same million bytes: sha256 {hashlib.sha256(returned.read_bytes()).hexdigest()[:16]}...")

    _step("The sandbox is deleted: its machine is terminated")
    _ciab(env, "sandbox", "delete", "demo")
    _ciab(env, "sandbox", "get", "demo")


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of this run's own; gone at the end."""
    parent = ROOT / ".demo"
    parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        _undisturbed()
        left = _end_all_of(folder)
        shutil.rmtree(folder)
        if not any(parent.iterdir()):
            parent.rmdir()
    if left:
        raise DemoFailed(f"processes were left behind, and ended now: {', '.join(left)}")


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """A server in a process of its own; gives the environment in which `ciab` finds it."""
    config, database, log = folder / "config.toml", folder / "ciab.db", folder / "server.log"
    config.write_text(
        f'[server]\nport = 0\n[database]\nurl = "sqlite:///{database}"\n[runtime]\nbackend = "local"\n'
    )
    config.chmod(0o600)
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    env = {**kept, "CIAB_CONFIG": str(config)}
    _step('The server starts, with backend "local": an EC2 region on this machine')
    _say("$ ciab server start")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [CIAB, "server", "start"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            # ^C is for us: we end it in an orderly way.
            start_new_session=True,
        )
    try:
        port = _port_of(server, database, log)
        _say("".join(f"  {line}\n" for line in log.read_text().splitlines()).rstrip())
        yield {**env, "CIAB_SERVER_URL": f"http://127.0.0.1:{port}"}
        code = server.wait(END_SECS)
        if code != 0:
            raise DemoFailed(f"the server ended with exit code {code}:\n{log.read_text()}")
    finally:
        _undisturbed()
        _end(server)


def _port_of(server: subprocess.Popen[bytes], database: Path, log: Path) -> int:
    """Where it listens, once it does."""
    deadline = time.monotonic() + START_SECS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DemoFailed(f"the server ended with exit code {server.returncode}:\n{log.read_text()}")
        holder = holder_of(database)
        if holder and holder.port:
            return holder.port
        time.sleep(0.05)
    raise DemoFailed(f"the server did not start within {START_SECS:.0f} s:\n{log.read_text()}")


def _ciab(env: dict[str, str], *arguments: str, expected: int = 0) -> None:
    _say(f"$ ciab {shlex.join(arguments)}")
    code = subprocess.run([CIAB, *arguments], env=env, stdin=subprocess.DEVNULL, check=False).returncode
    if code != expected:
        raise DemoFailed(f"ciab {' '.join(arguments[:2])} ended with exit code {code}, not {expected}")
    if expected:
        _say(f"  exit code {code}")


def _end(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(END_SECS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _end_all_of(folder: Path) -> list[str]:
    """End every process that works in the folder or names it, and say which there were; none is right."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            )
            inside = (process / "cwd").readlink().is_relative_to(folder)
        except OSError:
            continue  # it has ended, or is another user's
        if int(process.name) != os.getpid() and (inside or str(folder) in command):
            left.append(f"{process.name} ({command[:80]})")
            os.kill(int(process.name), signal.SIGKILL)
    return left


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _undisturbed() -> None:
    """From here on everything is taken down; a second ^C must not leave half of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _step(text: str) -> None:
    _say(f"\n# {text}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
