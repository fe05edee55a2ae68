import pytest

from ciab.core import errors
from ciab.schema.errors import ErrorInfo, explain
from ciab.schema.files import absolute, path_from_url


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
