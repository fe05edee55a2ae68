"""The file that `ciab config init` writes, and the reference in the documentation."""

import re
import subprocess
import sys
from pathlib import Path

from ciab.server.config import load
from ciab.server.config.keys import all_keys
from ciab.server.config.rendering import config_file, reference
from ciab.server.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_new_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(config_file())
    assert load(file, {}).settings == Settings()


def test_with_every_comment_removed_it_is_valid_and_has_every_key(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(re.sub(r"^# (?=[\w\"\[])(?!The |Each )", "", config_file(), flags=re.MULTILINE))
    loaded = load(file, {})
    plain = tuple(key for key in all_keys() if "*" not in key.path)
    set_there = {path for path, _, source in loaded.effective() if source != "default"}
    assert {key.path for key in plain} <= set_there | {path[:-1] for path in set_there}
    assert loaded.settings.runtime.ec2.tags == {"Team": "platform"}
    assert set(loaded.settings.runtime.ec2.regions) == {"eu-west-1"}


def test_every_key_has_a_description() -> None:
    assert [key.path for key in all_keys() if not key.field.description] == []


def test_the_documented_reference_is_up_to_date() -> None:
    """Run scripts/config_reference.py when this fails."""
    documented = (ROOT / "docs/configuration.md").read_text()
    assert reference() in documented
    script = [sys.executable, ROOT / "scripts/config_reference.py", "--check"]
    assert subprocess.run(script, check=False).returncode == 0
