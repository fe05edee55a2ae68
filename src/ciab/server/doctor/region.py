"""The local region: the server's own where it runs, else one for the time of the check."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ciab.core.errors import ConfigError
from ciab.core.finding import Finding
from ciab.server.local import LocalRegion, Region
from ciab.server.settings import Settings

_CHECK = "local region"


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Finding, Region | None]]:
    """The region, while the context lasts, and what is to be said of it; no region: it cannot run here."""
    own = LocalRegion(settings.database.path.with_suffix(".region"))
    if region := await own.running():
        yield _finding(settings, region, f"the region in {own.folder}", "runs"), region
        return
    with tempfile.TemporaryDirectory(prefix="ciab-doctor-") as folder:
        keeper = LocalRegion(Path(folder) / "region")
        tried = "a region in a temporary folder, for the time of this check"
        opening = asyncio.create_task(keeper.open())
        try:
            try:
                region = await asyncio.shield(opening)
                finding = _finding(settings, region, tried, "starts, and is ended again")
            except ConfigError as error:
                finding = Finding(_CHECK, "error", tried, error.message, error.hint)
            yield finding, region
        finally:
            # also when this was cut off: the process must not outlive its folder
            await asyncio.gather(opening, return_exceptions=True)
            await keeper.stop()


def _finding(settings: Settings, region: Region, tried: str, how: str) -> Finding:
    if region.reason is None:
        return Finding(_CHECK, "ok", tried, f"it {how}; isolation: {region.isolation}")
    told = f"it {how}; its machines are not isolated: {region.reason}; they see your files"
    if settings.runtime.local.allow_unisolated:
        hint = "run only what you trust"
    else:
        hint = "install bubblewrap; until then only --provider command is taken, and run only what you trust"
    return Finding(_CHECK, "warning", tried, told, hint)
