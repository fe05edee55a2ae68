"""`ciab files` against the real server."""

import json
import os
from pathlib import Path

import pytest

from tests.commands import Ciab

NAMES = ["with space", "quote'\"", "new\nline", "per%cent#?&", "ä€\\"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_name_goes_in_and_out(ciab: Ciab, box: str, tmp_path: Path, name: str) -> None:
    here = tmp_path / "in"
    here.write_bytes(os.urandom(1000))
    ciab.good("files", "upload", box, str(here), f"names/{name}")
    ciab.good("files", "download", box, f"names/{name}", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == here.read_bytes()
    ciab.good("files", "delete", box, f"names/{name}")
    assert json.loads(ciab.good("-o", "json", "files", "list", box, "names")) == []


def test_large_files_pass_whole(ciab: Ciab, box: str, tmp_path: Path) -> None:
    here = tmp_path / "large"
    here.write_bytes(os.urandom(1024) * 20_000)
    ciab.good("files", "upload", box, str(here), "large")
    assert ciab("files", "download", box, "large", "-").out == here.read_bytes()
    ciab.good("files", "delete", box, "large")


def test_standard_input_and_output(ciab: Ciab, box: str) -> None:
    ciab.good("files", "upload", box, "-", "~/piped", stdin=b"\0\xff")
    assert ciab("files", "download", box, "~/piped", "-").out == b"\0\xff"


def test_folders_keep_the_names(ciab: Ciab, box: str, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("x")
    assert ciab.good("files", "upload", box, str(tmp_path / "note"), "kept/") == "kept/note"
    (tmp_path / "back").mkdir()
    printed = ciab.good("files", "download", box, "kept/note", str(tmp_path / "back"))
    assert printed == str(tmp_path / "back" / "note")
    assert (tmp_path / "back" / "note").read_text() == "x"


def test_a_list_shows_mode_size_and_folders(ciab: Ciab, box: str) -> None:
    ciab.good(
        "sandbox",
        "exec",
        box,
        "--",
        "sh",
        "-c",
        "mkdir -p shown/sub; printf abc > shown/f; chmod 750 shown/f",
    )
    head, first, second = ciab.good("files", "list", box, "shown").splitlines()
    assert head.split() == ["MODE", "SIZE", "MODIFIED", "PATH"]
    assert first.split()[:2] == ["-rwxr-x---", "3"]
    assert first.endswith("/home/ubuntu/workspace/shown/f")
    assert second.endswith("/home/ubuntu/workspace/shown/sub/")


def test_a_failed_download_leaves_what_was_there(ciab: Ciab, box: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old")
    failed = ciab("files", "download", box, "/no/such/file", str(kept))
    assert (failed.code, len(failed.lines)) == (1, 1)
    assert "/no/such/file" in failed.err
    assert kept.read_text() == "old"
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download", "box", "/etc", "-"], "is a folder"),
        (["list", "box", "/nowhere"], "/nowhere"),
        (["delete", "box", "/nowhere"], "/nowhere"),
        (["upload", "box", "/nowhere", "x"], "cannot read /nowhere"),
        (["download", "box", "/etc/passwd", "/nowhere/x"], "cannot write /nowhere/x"),
        (["list", "nobody", "/"], "nobody"),
        (["list", "", "/"], "no sandbox has the id or name ''"),
        (["delete", "box", ""], "the path is empty"),
        (["list", "box", "\udcff"], "not UTF-8"),
    ],
)
@pytest.mark.usefixtures("box")
def test_errors_are_one_line(ciab: Ciab, arguments: list[str], said: str) -> None:
    failed = ciab("files", *arguments)
    assert (failed.code, failed.out, len(failed.lines)) == (1, b"", 1), failed.err
    assert said in failed.err
