"""The programs on the machine, as texts: they must run wherever cloud-init does."""

import ast
import sys
from collections.abc import Iterator
from importlib import resources

import pytest

from ciab.adapters.ssh import frames
from ciab.guest import program

SHARED = [name for name in vars(frames) if name.isupper() and hasattr(program, name)]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not (node.level == 1 and node.module == "processes"):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("name", ["program.py", "guardian.py", "processes.py", "pulse.py", "freeze.py"])
def test_it_is_python_3_8_and_needs_the_standard_library_only(name: str) -> None:
    tree = ast.parse(resources.files("ciab.guest").joinpath(name).read_bytes(), feature_version=(3, 8))
    assert set(imported(tree)) <= set(sys.stdlib_module_names)


def test_the_kinds_of_frames_are_known_to_both_sides() -> None:
    assert {"RUN", "STDIN", "CREDIT", "CANCEL", "STDOUT", "STDERR", "TAKEN", "END", "HEADER"} <= set(SHARED)


@pytest.mark.parametrize("name", SHARED)
def test_both_sides_speak_the_same_frames(name: str) -> None:
    ours, theirs = getattr(frames, name), getattr(program, name)
    assert getattr(ours, "format", ours) == getattr(theirs, "format", theirs)
