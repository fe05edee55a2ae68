"""Files inside a sandbox, streamed both ways: any size, constant memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import cast

from fastapi import APIRouter, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from ciab.core.errors import Conflict, InvalidRequest
from ciab.schema.files import FileInfo, absolute, path_from_url
from ciab.server.allowance import lift
from ciab.server.replies import REFUSALS, reply, reply_list
from ciab.server.services import Serving
from ciab.server.streams import Streamed

BYTES = "application/octet-stream"
_CONTENT = {BYTES: {"schema": {"type": "string", "format": "binary"}}}


class AnyPath(Convertor[str]):
    """The rest of the path, newlines included: the framework's own stops at them."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("anypath", AnyPath())  # the framework's only way; needed before the routes are named

router = APIRouter(prefix="/api/v1/sandboxes/{reference}/files", tags=["files"], responses=REFUSALS)


@router.get("", response_model=list[FileInfo])
async def list_files(reference: str, services: Serving, path: str = "~/workspace") -> Response:
    """What a folder holds, by name; of a file, the file itself."""
    async with services.reach.visit(reference) as (_, connection):
        found = await connection.files.list(path_from_url(absolute(path)))
    return reply_list([FileInfo.from_core(info) for info in found])


@router.get(
    "/{path:anypath}",
    response_class=Response,
    responses={200: {"content": _CONTENT, "description": "The file's bytes"}},
)
@router.head("/{path:anypath}", response_class=Response, include_in_schema=False)
async def download_file(reference: str, path: str, request: Request, services: Serving) -> Response:
    """A file's bytes. The path is absolute without its leading slash; `~/...` is below the home."""
    where = path_from_url(path)
    async with AsyncExitStack() as visit:
        _, connection = await visit.enter_async_context(services.reach.visit(reference))
        info = await connection.files.stat(where)
        if info.is_dir:
            raise InvalidRequest(f"{info.path} is a folder, not a file", hint="list it, or name a file in it")
        headers = {"Last-Modified": info.modified_at.strftime("%a, %d %b %Y %H:%M:%S GMT")}
        if info.size:  # files of /proc have no size, but content
            headers["Content-Length"] = str(info.size)
        if request.method == "HEAD":
            return Response(None, 200, headers, BYTES)
        content = cast("AsyncGenerator[bytes, None]", connection.files.read(where))
        first = await anext(content, b"")  # what cannot be read is refused before the answer begins
        return Streamed(_up_to(info.size, first, content), BYTES, headers, held=visit.pop_all())


@router.put(
    "/{path:anypath}",
    response_model=FileInfo,
    openapi_extra={"requestBody": {"content": _CONTENT, "required": True}},
)
async def upload_file(reference: str, path: str, request: Request, services: Serving) -> Response:
    """Replace a file by the body, in one move; missing folders are made."""
    lift(request)
    async with services.reach.visit(reference) as (_, connection):
        return reply(FileInfo.from_core(await connection.files.write(path_from_url(path), _body(request))))


@router.delete("/{path:anypath}", status_code=204)
async def delete_file(reference: str, path: str, services: Serving) -> Response:
    """Delete a file, a link or an empty folder."""
    async with services.reach.visit(reference) as (_, connection):
        await connection.files.delete(path_from_url(path))
    return Response(status_code=204)


async def _up_to(size: int, first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A file that grows meanwhile ends where its size was told; one that shrinks is an error."""
    left = size or None
    async with aclosing(rest):
        chunk = first
        while chunk and left != 0:
            piece = chunk if left is None else chunk[:left]
            yield piece
            left = None if left is None else left - len(piece)
            chunk = b"" if left == 0 else await anext(rest, b"")
    if left:
        raise Conflict(f"the file became {left} bytes shorter while it was read")


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk
