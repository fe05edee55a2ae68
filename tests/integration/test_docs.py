"""The commands in the documents are run, as they stand there, against a real server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server import RunningServer

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(document: Path) -> list[str]:
    """Lines that begin with `$`, of all console blocks; the others are what they print."""
    blocks = BLOCK.findall(document.read_text())
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


DOCUMENTS = [
    path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if commands_of(path)
]


def test_there_are_documents_with_commands() -> None:
    assert {path.name for path in DOCUMENTS} >= {"README.md", "cli.md", "local.md"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_the_document_works(document: Path, tmp_path: Path) -> None:
    server = RunningServer(tmp_path / "server")
    server.start()
    try:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "CIAB_SERVER_URL": server.url,
        }
        script = "set -euxo pipefail\n" + "\n".join(commands_of(document))
        work = tmp_path / "work"
        work.mkdir()
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    finally:
        server.end()
        server.end_region()
