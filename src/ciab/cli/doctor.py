"""`ciab doctor`: what a server would meet, checked line by line. Needs no server and changes nothing."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli.command import Invocation
from ciab.cli.output import show_table

if TYPE_CHECKING:
    from ciab.core.finding import Finding

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="PATH", help="The file, instead of the one that is found")
]


async def doctor(
    invocation: Invocation,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="PATH", help="The file, instead of the one that is found"),
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="local|ec2", help="Who gives machines")
    ] = None,
) -> int:
    """Check what a server needs, here and in AWS, a line each with its cure; exit code 1: one is wrong."""
    from ciab.server.doctor import examine

    overrides: dict[tuple[str, ...], object] = {} if backend is None else {("runtime", "backend"): backend}
    findings = await examine(config, os.environ, overrides)
    wrong = any(finding.status == "error" for finding in findings)
    if invocation.json:
        document = {"ok": not wrong, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(document, indent=2))
    else:
        show_table(("CHECK", "RESULT", "TRIED", "FOUND"), map(_row, findings))
    return 1 if wrong else 0


def _row(finding: "Finding") -> tuple[str, str, str, str]:
    cure = f"; {finding.hint}" if finding.hint else ""
    return finding.check, finding.status, finding.tried, f"{finding.message}{cure}"
