"""The command line of the local region: `python -m ciab.localec2 --dir DIR`.

When it serves, it prints one JSON line, {"endpoint", "pid", "isolation", "reason"}, and has the same in
DIR/endpoint.json until its orderly end; `reason` says why there is no isolation, else it is null.
SIGTERM or SIGINT: machines stopped, state saved, exit code 0.
Exit code 1: it could not begin or go on; one line on stderr says why.
"""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from ciab.localec2.api.addresses import AddressError
from ciab.localec2.api.faults import Faults, FaultsError, parse
from ciab.localec2.api.folder import Folder, FolderInUse, StateError
from ciab.localec2.api.serve import Settings, serve
from ciab.localec2.host import MachineError, MachineHost


def main() -> int:
    options = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        faults = parse(options.faults)
        folder = Folder(options.dir.expanduser().absolute())
        folder.claim()
        asyncio.run(_serve(options, folder, faults))
    except (FolderInUse, AddressError, MachineError, FaultsError, StateError, OSError) as exc:
        sys.stderr.write(f"local region: {exc}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m ciab.localec2", description="An EC2 region on this machine.")
    parser.add_argument(
        "--dir", type=Path, required=True, help="where its state and disks are; one process each"
    )
    parser.add_argument("--port", type=int, default=0, help="0, the default: that of the last start, or any")
    parser.add_argument("--machines", choices=("process", "image"), default="process")
    parser.add_argument("--rootfs", type=Path, help="the root file system of --machines image")
    parser.add_argument("--faults", default="{}", help="a JSON object, see ciab.localec2.api.faults")
    parser.add_argument(
        "--orphan-secs", type=float, default=0, help="end after so long without a call; 0: never"
    )
    return parser


async def _serve(options: argparse.Namespace, folder: Folder, faults: Faults) -> None:
    host: MachineHost
    reason = None
    if options.machines == "image":
        from ciab.localec2.image.host import ImageHost

        if options.rootfs is None:
            raise MachineError("--machines image needs --rootfs, the folder of a root file system to boot")
        host = ImageHost(folder.path, options.rootfs)
    else:
        from ciab.localec2.process.host import ProcessHost

        host = process_host = await ProcessHost.open()
        reason = process_host.reason
    await serve(folder, host, faults, Settings(options.port, options.orphan_secs, reason))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is saved and closed; taking moto's objects apart would keep the caller waiting for a second.
    os._exit(code)
