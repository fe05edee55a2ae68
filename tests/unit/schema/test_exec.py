import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ciab.core.errors import InvalidRequest
from ciab.core.guest import Exit, Output, Ran
from ciab.schema.exec import ExecRequest, ExecResult, ExitFrame, Framer, OutputFrame


def request(**fields: object) -> ExecRequest:
    return ExecRequest.model_validate({"command": ["true"], **fields})


@pytest.mark.parametrize("command", [[], [""], ["", "x"], ["a\0b"], ["a", "\ud800"], "ls", [1]])
def test_commands_that_name_no_program_are_refused(command: object) -> None:
    with pytest.raises(ValidationError):
        request(command=command)


def test_empty_arguments_are_arguments() -> None:
    assert request(command=["printf", ""]).to_core().argv == ("printf", "")


def test_a_terminal_is_refused_for_now() -> None:
    with pytest.raises(InvalidRequest, match="cannot run a command on a terminal yet"):
        request(tty=True).to_core()


@pytest.mark.parametrize("workdir", ["", "a\nb", "a\0", "x" * 4097])
def test_bad_working_directories(workdir: str) -> None:
    with pytest.raises(ValidationError):
        request(workdir=workdir)


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_time_limit_is_positive(seconds: float) -> None:
    with pytest.raises(ValidationError):
        request(timeout_secs=seconds)


def test_stdin_is_decoded_as_the_encoding_says() -> None:
    assert request(stdin="é").stdin_bytes() == b"\xc3\xa9"
    assert request(stdin=base64.b64encode(b"\0\xff").decode(), encoding="base64").stdin_bytes() == b"\0\xff"
    with pytest.raises(InvalidRequest, match="not base64"):
        request(stdin="?!", encoding="base64").stdin_bytes()


def test_environment_and_stdin_are_not_shown() -> None:
    shown = request(env={"KEY": "hunter2"}, stdin="hunter2")
    assert "hunter2" not in repr(shown) + shown.model_dump_json()


def test_binary_output_survives_as_base64_and_is_marked_in_utf8() -> None:
    ran = Ran(exit_code=1, stdout=b"\xff\0", stderr=b"", duration_ms=3)
    assert base64.b64decode(ExecResult.from_core(ran, "base64").stdout) == b"\xff\0"
    assert ExecResult.from_core(ran).stdout == "\ufffd\0"


@given(text=st.text(), cuts=st.lists(st.integers(min_value=1, max_value=5), max_size=40))
def test_characters_cut_in_two_are_put_together(text: str, cuts: list[int]) -> None:
    framer, data, frames = Framer("utf-8"), text.encode("utf-8", "replace"), []
    for size in cuts:
        frames += framer.frames(Output("stdout", data[:size]))
        data = data[size:]
    frames += framer.frames(Output("stdout", data))
    frames += framer.frames(Exit(0, 1))
    joined = "".join(frame.text for frame in frames if isinstance(frame, OutputFrame))
    assert joined == text.encode("utf-8", "replace").decode("utf-8")
    assert frames[-1] == ExitFrame(code=0, duration_ms=1)


def test_half_a_character_of_one_stream_is_not_completed_by_the_other() -> None:
    framer = Framer("utf-8")
    assert framer.frames(Output("stdout", b"\xc3")) == []
    assert framer.frames(Output("stderr", b"x")) == [OutputFrame(type="stderr", text="x")]
    assert framer.frames(Output("stdout", b"\xa9")) == [OutputFrame(type="stdout", text="é")]
