from pathlib import Path

import pytest
import typer

from ciab.cli import pairs
from ciab.cli.main import _is_exec
from ciab.cli.output import plain


def test_a_value_may_hold_equals_signs() -> None:
    assert pairs.variables(["A=1=2", "B="]) == {"A": "1=2", "B": ""}


def test_a_name_alone_takes_its_value_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "x")
    assert pairs.variables(["FROM_HERE"]) == {"FROM_HERE": "x"}


@pytest.mark.parametrize("given", ["NOT_SET_ANYWHERE", "=x", ""])
def test_a_name_without_a_value_is_a_usage_error(given: str) -> None:
    with pytest.raises(typer.BadParameter):
        pairs.variables([given])


def test_a_forgotten_name_does_not_show_the_secret() -> None:
    with pytest.raises(typer.BadParameter) as caught:
        pairs.variables(["sk-secret"])
    assert "sk-secret" not in str(caught.value)


def test_single_values_win_over_the_files(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# names\n\nA=1\nB=2 # kept\n")
    assert pairs.variables(["A=3"], file) == {"A": "3", "B": "2 # kept"}


def test_a_bad_line_is_named_by_number_alone(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\nsecret\n")
    with pytest.raises(typer.BadParameter, match="line 2") as caught:
        pairs.variables([], file)
    assert "secret" not in str(caught.value).replace(str(file), "")


@pytest.mark.parametrize("given", ["a", "=b", ""])
def test_a_label_is_a_key_and_a_value(given: str) -> None:
    with pytest.raises(typer.BadParameter):
        pairs.labels([given])


def test_a_message_of_a_machine_is_one_plain_line() -> None:
    assert plain("  a\n\nb\x1b[31mred\r\nc ") == "  a / b?[31mred / c"


@pytest.mark.parametrize(
    ("words", "is_exec"),
    [
        (["sandbox", "exec", "x"], True),
        (["-o", "json", "sandbox", "exec"], True),
        (["sandbox", "list"], False),
        (["exec"], False),
    ],
)
def test_usage_errors_of_exec_have_our_code(words: list[str], *, is_exec: bool) -> None:
    assert _is_exec(words) is is_exec
