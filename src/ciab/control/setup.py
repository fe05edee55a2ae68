"""The steps inside a machine: the workspace, repositories, scripts. Each may be run again after a crash."""

from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from ciab.control.reach import target_of
from ciab.control.work import Ports
from ciab.core.errors import CommandFailed, FileMissing
from ciab.core.guest import Command, Ran
from ciab.core.ports import Connection
from ciab.core.sandbox import Sandbox
from ciab.core.secret import MASK, Secret
from ciab.core.spec import GitRepo

WORKSPACE = "~/workspace"
KEPT_OUTPUT = 64 * 1024
SHOWN_LINES = 5

GIT_LOGIN = '!f() { echo username="$CIAB_GIT_USER"; echo password="$CIAB_GIT_PASSWORD"; }; f'
"""A credential helper that reads its own environment: no password on a command line or on disk."""


async def prepare_workspace(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Make the working folder that commands, clones and agents start in."""
    connection = await _connect(sandbox, ports)
    await _must(connection, Command(("mkdir", "-p", "workspace"), workdir="~"), "make the workspace")
    return sandbox


async def clone_repositories(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Clone each repository that is not there yet; a clone becomes visible only when it is whole."""
    if not sandbox.spec.git_repos:
        return sandbox
    connection = await _connect(sandbox, ports)
    for repo in sandbox.spec.git_repos:
        await _clone(sandbox, repo, connection, ports.limits.setup)
    return sandbox


async def run_scripts(sandbox: Sandbox, ports: Ports) -> Sandbox:
    """Run each script with bash in the workspace. One that ended well is never run again; one that a
    crash of the server cut off is run from its start."""
    if not sandbox.spec.provisioning_scripts:
        return sandbox
    connection = await _connect(sandbox, ports)
    for number, script in enumerate(sandbox.spec.provisioning_scripts, start=1):
        mark = f"~/.ciab/script-{number}.done"
        if await _exists(connection, mark):
            continue
        command = Command(("bash", "-s"), env=sandbox.spec.env_vars, timeout=ports.limits.setup)
        await _must(connection, command, f"run provisioning script {number}", script.encode())
        await connection.files.write(mark, _no_bytes())
    return sandbox


async def _clone(sandbox: Sandbox, repo: GitRepo, connection: Connection, seconds: float) -> None:
    url, login = without_login(repo.url)
    workdir, folder = _destination(repo, url)
    if await _exists(connection, f"{workdir}/{folder}"):
        return
    env = {**sandbox.spec.env_vars, **login, "GIT_TERMINAL_PROMPT": Secret("0")}
    for argv in clone_commands(repo, url, folder):
        await _must(connection, Command(argv, workdir, env, seconds), f"clone {url}")


def _destination(repo: GitRepo, url: str) -> tuple[str, str]:
    """The folder that the clone's path is relative to, and that path."""
    folder = repo.dest_path or PurePosixPath(url.rstrip("/").replace(":", "/")).name.removesuffix(".git")
    if folder.startswith("~/"):
        return "~", folder.removeprefix("~/")
    if folder.startswith("/"):
        return "/", folder.lstrip("/")
    return WORKSPACE, folder


def clone_commands(repo: GitRepo, url: str, folder: str) -> list[tuple[str, ...]]:
    """What clones `url` into `folder`: beside it first, and moved there when it is whole."""
    part = f"{folder}.part"
    clone = ["git", "clone", "-q"]
    if repo.depth:
        clone.append(f"--depth={repo.depth}")
    if branch := repo.branch or repo.tag:
        clone.append(f"--branch={branch}")
    if repo.sparse_paths:
        clone += ["--sparse", "--filter=blob:none"]
    commands: list[tuple[str, ...]] = [("rm", "-rf", "--", part), (*clone, "--", url, part)]
    inside = ("git", "-C", part)
    if repo.sparse_paths:
        commands.append((*inside, "sparse-checkout", "set", *repo.sparse_paths))
    if repo.commit:
        if repo.depth:
            commands.append((*inside, "fetch", "-q", f"--depth={repo.depth}", "origin", repo.commit))
        commands.append((*inside, "checkout", "-q", repo.commit, "--"))
    if repo.submodules:
        commands.append((*inside, "submodule", "update", "-q", "--init", "--recursive"))
    return [*commands, ("mv", "-T", "--", part, folder)]


def without_login(url: Secret) -> tuple[str, dict[str, Secret]]:
    """The URL without user and password, and these two as variables for git's credential helper."""
    text = url.reveal()
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or parts.password is None:
        return text, {}
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return bare, {
        "CIAB_GIT_USER": Secret(unquote(parts.username or "")),
        "CIAB_GIT_PASSWORD": Secret(unquote(parts.password)),
        "GIT_CONFIG_COUNT": Secret("1"),
        "GIT_CONFIG_KEY_0": Secret("credential.helper"),
        "GIT_CONFIG_VALUE_0": Secret(GIT_LOGIN),
    }


async def _connect(sandbox: Sandbox, ports: Ports) -> Connection:
    return await ports.connections.connect(await target_of(sandbox, ports))


async def _exists(connection: Connection, path: str) -> bool:
    try:
        await connection.files.stat(path)
    except FileMissing:
        return False
    return True


async def _must(connection: Connection, command: Command, what: str, stdin: bytes = b"") -> None:
    """Run it; a result other than 0 is CommandFailed with the last lines of what it printed, masked."""
    ran = await connection.guest.run(command, stdin, limit_bytes=KEPT_OUTPUT)
    if ran.exit_code == 0:
        return
    how = f"took longer than {command.timeout:g} s" if ran.timed_out else f"ended with {ran.exit_code}"
    raise CommandFailed(
        f"tried to {what}: it {how}{_last_lines(ran, command)}",
        hint="correct it and create the sandbox again",
    )


def _last_lines(ran: Ran, command: Command) -> str:
    text = (ran.stdout + b"\n" + ran.stderr).decode(errors="replace")
    for value in command.env.values():
        if len(value.reveal()) > 3:
            text = text.replace(value.reveal(), MASK)
    lines = [line.strip() for line in text.splitlines() if line.strip()][-SHOWN_LINES:]
    return ": " + " | ".join(lines) if lines else ""


async def _no_bytes() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""
