"""What else a sandbox or an image needs: the operator's key file, a known price, the packer program."""

import asyncio
import os
import re
import shutil

from ciab.adapters.ec2.doctor import NamedPair
from ciab.adapters.ec2.prices import Ec2Prices
from ciab.adapters.ssh.keys import named_key
from ciab.core.errors import ConfigError
from ciab.core.finding import Finding
from ciab.core.spec import Ec2Overrides, Spec
from ciab.server.settings import Settings

_PACKER_SECS = 20.0


async def key_file(name: str, pair: NamedPair | None) -> Finding:
    """Whether the private key of the configured key pair can be used, and is that pair's.

    `pair` is what EC2 has; None: it could not be asked.
    """
    if not name:
        return Finding("key file", "ok", "key_pair_name", "none is needed: no key pair is configured")
    tried = f"~/.ssh/{name}.pem"
    try:
        key = await named_key(name)
    except ConfigError as error:
        return Finding("key file", "error", tried, error.message, error.hint)
    if pair and pair.public and pair.public.split()[:2] != key.public.split()[:2]:
        told = f"{tried} is another key than that of the key pair {name}"
        return Finding(
            "key file", "error", tried, told, "put the key there that EC2 gave when the pair was made"
        )
    return Finding("key file", "ok", tried, "it can be used")


def price(settings: Settings) -> Finding:
    """Whether the prices are known by which budgets are kept."""
    ec2, budgets = settings.runtime.ec2, settings.budgets
    types = list(dict.fromkeys([ec2.instance_type, *ec2.instance_types]))
    prices = {
        kind: Ec2Prices(ec2).asked(Spec("command", ec2=Ec2Overrides(instance_type=kind))) for kind in types
    }
    tried = f"[runtime.ec2.prices], the built-in table: {', '.join(types)}"
    unknown = [kind for kind, dollars in prices.items() if dollars is None]
    if not unknown:
        told = ", ".join(f"{kind} ${dollars:.4f}" for kind, dollars in prices.items())
        return Finding("price", "ok", tried, f"an hour with disk and address: {told}")
    told = f"no price is known of {', '.join(unknown)}"
    hint = f'put what it costs an hour into the configuration: [runtime.ec2.prices] "{unknown[0]}" = DOLLARS'
    if budgets.per_sandbox or budgets.per_workspace or budgets.per_day:
        return Finding("price", "error", tried, f"{told}, so the budgets cannot be kept", hint)
    return Finding("price", "warning", tried, f"{told}, so costs are not counted", hint)


async def packer(binary: str) -> Finding:
    """Whether images can be built; nothing else needs it."""
    tried = f"{binary} version"
    hint = "for `ciab image build` install Packer: https://developer.hashicorp.com/packer/install"
    found = shutil.which(binary)
    if found is None:
        return Finding("packer", "warning", tried, f"there is no program {binary}", hint)
    try:
        said = await _version(found)
    except (OSError, TimeoutError) as error:
        told = f"{found} does not run: {error or 'no answer in time'}"
        return Finding("packer", "warning", tried, told, hint)
    version = re.search(r"\bPacker v(\S+)", said)
    if version is None:
        return Finding(
            "packer", "warning", tried, f"{found} is another program: it does not say its version", hint
        )
    return Finding("packer", "ok", tried, f"{version[1]}, {found}")


async def _version(program: str) -> str:
    quiet = {**os.environ, "CHECKPOINT_DISABLE": "1"}  # else it asks its maker for newer versions
    process = await asyncio.create_subprocess_exec(
        program,
        "version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=quiet,
    )
    try:
        async with asyncio.timeout(_PACKER_SECS):
            return (await process.communicate())[0].decode("utf-8", "replace")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
