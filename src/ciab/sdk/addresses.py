"""Where things are below a server's address, with every name encoded."""

from urllib.parse import quote

from ciab.core.errors import InvalidRequest, SandboxNotFound
from ciab.schema.files import absolute
from ciab.sdk.errors import not_text

API = "/api/v1"


def of_sandbox(sandbox: str, rest: str = "") -> str:
    """What is below a sandbox's own address. Raises SandboxNotFound for what can be no sandbox's name."""
    if not sandbox or "/" in sandbox or sandbox in (".", ".."):  # these would lead to other routes
        raise SandboxNotFound(f"no sandbox has the id or name {sandbox!r}", hint="see 'ciab sandbox list'")
    return f"{API}/sandboxes/{_quoted(sandbox)}" + (f"/{rest}" if rest else "")


def of_file(sandbox: str, path: str) -> str:
    """A file's. Dots that stand alone are encoded: else they would be resolved before the machine sees them.

    Raises InvalidRequest for an empty path.
    """
    if not path:
        raise InvalidRequest("the path is empty", hint="name a file")
    parts = (
        "%2E" * len(part) if part in (".", "..") else _quoted(part)
        for part in absolute(path).lstrip("/").split("/")
    )
    return of_sandbox(sandbox, "files/") + "/".join(parts)


def _quoted(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise not_text() from error
