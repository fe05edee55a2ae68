"""`ciab files`: what is in a sandbox's folders, and files in and out."""

import asyncio
import os
import stat
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from ciab.cli import output
from ciab.cli.command import Invocation, command
from ciab.cli.sandbox.app import SandboxRef
from ciab.core.errors import CiabError, InvalidRequest

if TYPE_CHECKING:
    from ciab.schema.files import FileInfo

CHUNK = 256 * 1024

app = typer.Typer(help="Files in a sandbox.", no_args_is_help=True, rich_markup_mode=None)

RemotePath = Annotated[
    str, typer.Argument(metavar="PATH", help="In the sandbox: absolute, ~/..., or below ~/workspace")
]


@command(app, "list")
async def list_files(invocation: Invocation, sandbox: SandboxRef, path: RemotePath) -> None:
    """List what a folder holds."""
    async with invocation.client() as client:
        found = await client.list_files(sandbox, path)
    if invocation.json:
        output.show_json(found)
    else:
        output.show_table(("MODE", "SIZE", "MODIFIED", "PATH"), [_row(info) for info in found])


@command(app, "download")
async def download(
    invocation: Invocation,
    sandbox: SandboxRef,
    path: RemotePath,
    local: Annotated[
        Path | None, typer.Argument(metavar="[LOCAL]", help="File or folder here; - for standard output")
    ] = None,
) -> None:
    """Copy a file out of a sandbox."""
    async with invocation.client() as client, aclosing(client.download_file(sandbox, path)) as chunks:
        if str(local) == "-":
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        target = _target(path, local)
        size = await _save(chunks, target)
    if invocation.json:
        output.show_line({"path": str(target), "size": size})
    else:
        typer.echo(target)


@command(app, "upload")
async def upload(
    invocation: Invocation,
    sandbox: SandboxRef,
    local: Annotated[Path, typer.Argument(metavar="LOCAL", help="A file here; - for standard input")],
    path: RemotePath,
) -> None:
    """Copy a file into a sandbox; a PATH that ends in / keeps the file's name."""
    if path.endswith("/"):
        path += local.name
    if str(local) == "-":
        await _upload(invocation, sandbox, sys.stdin.buffer, path)
        return
    try:
        with await asyncio.to_thread(local.open, "rb") as source:
            await _upload(invocation, sandbox, source, path)
    except OSError as error:
        raise _cannot("read", local, error) from error


@command(app, "delete")
async def delete(invocation: Invocation, sandbox: SandboxRef, path: RemotePath) -> None:
    """Delete a file or an empty folder."""
    async with invocation.client() as client:
        await client.delete_file(sandbox, path)


async def _upload(invocation: Invocation, sandbox: str, source: BinaryIO, path: str) -> None:
    async with invocation.client() as client:
        await client.upload_file(sandbox, path, _chunks(source))
    if invocation.json:
        output.show_line({"path": path})
    else:
        typer.echo(path)


async def _chunks(source: BinaryIO) -> AsyncGenerator[bytes, None]:
    while chunk := await asyncio.to_thread(source.read, CHUNK):
        yield chunk


def _target(path: str, local: Path | None) -> Path:
    name = PurePosixPath(path).name
    if local is None or local.is_dir():
        if not name or name in ("~", ".."):
            raise InvalidRequest(f"{path} names no file", hint="say under which name to save it")
        return (local or Path()) / name
    return local


async def _save(chunks: AsyncGenerator[bytes, None], target: Path) -> int:
    """All or nothing: a download that breaks off leaves what was there before."""
    size = 0
    part = None
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".ciab-", delete=False) as file:
            part = Path(file.name)
            async for chunk in chunks:
                size += await asyncio.to_thread(file.write, chunk)
        part.chmod(0o666 & ~_umask())
        part.replace(target)
    except OSError as error:
        raise _cannot("write", target, error) from error
    finally:
        if part:
            part.unlink(missing_ok=True)
    return size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cannot(verb: str, path: Path, error: OSError) -> CiabError:
    return CiabError(f"cannot {verb} {path}: {error.strerror or error}")


def _row(info: "FileInfo") -> tuple[str, ...]:
    kind = stat.S_IFDIR if info.is_dir else stat.S_IFREG
    return (
        stat.filemode(kind | info.mode),
        str(info.size),
        f"{info.modified_at:%Y-%m-%dT%H:%M:%SZ}",
        info.path + ("/" if info.is_dir else ""),
    )
