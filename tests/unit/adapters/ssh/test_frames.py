"""Frames: whole however the bytes are cut, and a hostile sender is found out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciab.adapters.ssh.frames import (
    END,
    HEADER,
    LARGEST,
    RUN,
    RUN_HEADER,
    STDERR,
    STDOUT,
    TAKEN,
    Frames,
    frame,
    run_frame,
)
from ciab.core.errors import GuestFault, InvalidRequest
from ciab.core.guest import Command
from ciab.core.secret import Secret

FRAMES = st.lists(
    st.tuples(
        st.sampled_from([STDOUT, STDERR, TAKEN, END]), st.integers(0, 2**32 - 1), st.binary(max_size=300)
    )
)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(FRAMES, st.lists(st.integers(1, 50)))
def test_frames_come_whole_however_they_are_cut(sent: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(*one) for one in sent)
    frames = Frames()
    got: list[tuple[int, int, bytes]] = []
    for cut in cuts:
        got += frames.feed(data[:cut])
        data = data[cut:]
    got += frames.feed(data)
    assert got == sent


@pytest.mark.parametrize(
    "header", [HEADER.pack(STDOUT, 1, LARGEST + 1), HEADER.pack(RUN, 1, 0), HEADER.pack(200, 1, 0)]
)
def test_what_is_no_frame_of_ours_is_a_fault(header: bytes) -> None:
    with pytest.raises(GuestFault):
        list(Frames().feed(header))


@given(st.lists(WORDS, min_size=1), st.dictionaries(WORDS.filter(lambda n: n and "=" not in n), WORDS))
def test_a_command_travels_as_it_is(argv: list[str], env: dict[str, str]) -> None:
    command = Command(tuple(argv), env={name: Secret(value) for name, value in env.items()})
    sent = run_frame(7, command, b"stdin", credit=10, flags=1)
    kind, number, size = HEADER.unpack_from(sent)
    credit, length, flags = RUN_HEADER.unpack_from(sent, HEADER.size)
    text = sent[HEADER.size + RUN_HEADER.size :]
    assert (kind, number, size, credit, flags) == (RUN, 7, len(sent) - HEADER.size, 10, 1)
    request = json.loads(text[:length])
    assert (request["argv"], request["env"], text[length:]) == (argv, env, b"stdin")


@pytest.mark.parametrize(
    "command",
    [
        Command(()),
        Command(("a\0b",)),
        Command(("\ud800",)),
        Command(("true",), workdir="/\0"),
        Command(("true",), env={"A": Secret("\0")}),
        Command(("true",), env={"A=B": Secret("x")}),
        Command(("true",), env={"": Secret("x")}),
    ],
    ids=repr,
)
def test_what_no_program_can_be_given_is_refused(command: Command) -> None:
    with pytest.raises(InvalidRequest):
        run_frame(1, command, b"", credit=0, flags=0)


def test_bytes_that_are_no_text_can_be_a_word() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert run_frame(1, Command(("ls", name)), b"", credit=0, flags=0)
