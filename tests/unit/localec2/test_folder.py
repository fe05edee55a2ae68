import os
from pathlib import Path

import pytest

from ciab.localec2.api.folder import Folder, FolderInUse, write


def test_a_folder_is_for_one_process(tmp_path: Path) -> None:
    first, second = Folder(tmp_path / "region"), Folder(tmp_path / "region")
    first.claim()
    with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
        second.claim()


def test_what_is_remembered_is_added_to(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "region")
    assert folder.remembered() == {}
    folder.remember(port=4000)
    folder.remember(block=1, cursor=2)
    assert folder.remembered() == {"port": 4000, "block": 1, "cursor": 2}


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    target = tmp_path / "state"
    target.with_suffix(".new").write_bytes(b"half of a wri")  # a process that was killed while writing
    write(target, b"first")
    write(target, b"second")
    assert target.read_bytes() == b"second"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]
