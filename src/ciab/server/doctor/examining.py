"""All checks: the configuration first, then what is on this machine and what is in EC2, beside each other."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from ciab.adapters.ec2.doctor import EC2_CHECKS, NamedPair, examine_ec2
from ciab.adapters.ssh.keys import mint_key
from ciab.core.errors import ConfigError
from ciab.core.finding import Finding
from ciab.server.config import load
from ciab.server.doctor.kept import kept
from ciab.server.doctor.region import opened
from ciab.server.doctor.tools import key_file, packer, price
from ciab.server.settings import Settings

_CONFIGURATION = "configuration"
_LATER = ("encryption key", "database", *EC2_CHECKS, "key file", "price", "packer")


async def examine(
    file: Path | None, environ: Mapping[str, str], overrides: Mapping[tuple[str, ...], object]
) -> Sequence[Finding]:
    """One finding a check, in an order that reads well; each check has its own time limit.

    `file`, `environ` and `overrides` are as in `ciab.server.config.load`. A local region that does not run
    is started in a temporary folder and ended again; nothing else is made, changed or launched.
    """
    tried = str(file or "--config, $CIAB_CONFIG, ./config.toml, ~/.config/ciab/config.toml")
    try:
        loaded = load(file, environ, overrides)
    except ConfigError as error:
        wrong = Finding(_CONFIGURATION, "error", tried, error.message, error.hint)
        return [wrong, *(_skipped(name, _CONFIGURATION) for name in _LATER)]
    said = f"{loaded.file or 'the defaults (there is no file)'}: valid"
    return [Finding(_CONFIGURATION, "ok", tried, said), *await _under(loaded.settings, environ)]


async def _under(settings: Settings, environ: Mapping[str, str]) -> Sequence[Finding]:
    async with asyncio.TaskGroup() as group:
        here = group.create_task(kept(settings, environ))
        outside = group.create_task(_outside(settings))
        tool = group.create_task(packer(settings.packer.binary_path))
    there, pair = outside.result()
    file = await key_file(settings.runtime.ec2.key_pair_name, pair)
    return [*here.result(), *there, file, price(settings), tool.result()]


async def _outside(settings: Settings) -> tuple[Sequence[Finding], NamedPair | None]:
    ec2 = settings.runtime.ec2
    if settings.runtime.backend == "ec2":
        return await examine_ec2(ec2, "ec2", ec2.endpoint_url, mint_key)
    async with opened(settings) as (finding, region):
        if region is None:
            return [finding, *(_skipped(name, finding.check) for name in EC2_CHECKS)], None
        found, pair = await examine_ec2(ec2, "local", region.endpoint, mint_key)
    return [finding, *found], pair


def _skipped(check: str, needed: str) -> Finding:
    return Finding(check, "skipped", "", f"it depends on: {needed}")
