from datetime import UTC, datetime

import pytest

from ciab.core import errors
from ciab.core import guest as core
from ciab.schema.errors import ErrorInfo, explain
from ciab.schema.files import FileInfo, absolute, path_from_url


@pytest.mark.parametrize(
    "kind",
    [
        errors.ConfigError,
        errors.InvalidRequest,
        errors.Unauthorized,
        errors.Forbidden,
        errors.RateLimited,
        errors.SandboxNotFound,
        errors.FileMissing,
        errors.AgentProviderNotFound,
        errors.Conflict,
        errors.InvalidState,
        errors.BudgetExceeded,
        errors.CommandFailed,
        errors.MachineEnded,
        errors.MachineStopped,
        errors.SpotInterrupted,
        errors.CapacityUnavailable,
        errors.RuntimeUnavailable,
        errors.RuntimeRejected,
        errors.GuestFault,
        errors.GuestUnreachable,
        errors.TimedOut,
        errors.CiabError,
    ],
)
def test_an_error_comes_back_as_the_class_it_was(kind: type[errors.CiabError]) -> None:
    back = ErrorInfo.of(kind("what happened", hint="what to do")).raised()
    assert type(back) is kind
    assert (back.message, back.hint) == ("what happened", "what to do")


def test_a_code_of_a_newer_server_is_still_an_error() -> None:
    back = ErrorInfo(code="moon_not_found", message="no moon").raised()
    assert type(back) is errors.CiabError
    assert back.message == "no moon"


def test_a_field_name_with_control_characters_is_quoted() -> None:
    message, _ = explain([{"type": "extra_forbidden", "loc": ("body", "a\x1b[31m"), "msg": "x"}], ["name"])
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"type": "missing", "loc": ("body",), "msg": "Field required"}, "the body: it is required"),
        ({"type": "dict_type", "loc": ("body", "ec2"), "msg": "Python's"}, "ec2: it should be an object"),
        ({"type": "value_error", "loc": ("body",), "msg": "Value error, it is odd"}, "it is odd"),
        ({"type": "json_invalid", "loc": ("body", 7), "msg": "x"}, "wrong at character 7"),
        (
            {"type": "recursion_depth_exceeded", "loc": ("body", *["a"] * 500), "msg": "x"},
            "...: it is nested too deeply",
        ),
    ],
)
def test_what_is_wrong_is_told_in_words_for_people(found: dict[str, object], words: str) -> None:
    message, _ = explain([found])
    assert message.endswith(words)
    assert len(message) < 200


def test_names_that_are_not_utf_8_can_be_shown() -> None:
    odd = errors.FileMissing("there is no /tmp/\udcff", hint="\ud800")
    assert ErrorInfo.of(odd).model_dump_json()
    info = FileInfo.from_core(core.FileInfo("/tmp/\udcffa", 1, False, 0o644, datetime.now(UTC)))
    assert info.path == "/tmp/\ufffda"
    assert info.model_dump_json()


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("etc/hostname", "/etc/hostname"),
        ("/etc/hostname", "/etc/hostname"),
        ("~/a b", "~/a b"),
        ("~", "~/"),
        ("/", "/"),
        ("home/a'\"\n", "/home/a'\"\n"),
        ("~x/y", "/~x/y"),
    ],
)
def test_paths_of_the_files_route(path: str, meant: str) -> None:
    assert path_from_url(path) == meant


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 4097])
def test_paths_that_name_nothing(path: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        path_from_url(path)


@pytest.mark.parametrize(
    ("path", "meant"), [("/a", "/a"), ("~/a", "~/a"), ("~", "~/"), ("a/b", "~/workspace/a/b")]
)
def test_relative_paths_are_below_the_workspace(path: str, meant: str) -> None:
    assert absolute(path) == meant
