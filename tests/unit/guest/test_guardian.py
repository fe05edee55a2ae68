"""How long nothing was heard: by a clock that only knows how long the machine has run."""

from collections.abc import Iterator

import pytest

from ciab.guest.guardian import OFF, Count

LIMIT, MOST = 60.0, 30.0


def counted(*looks: tuple[float, bytes | None], first: bytes | None = None) -> list[bool]:
    """The answers of looks, each so many seconds after the one before."""
    now = 1000.0
    count = Count(LIMIT, MOST, now, first)

    def answers() -> Iterator[bool]:
        nonlocal now
        for later, content in looks:
            now += later
            yield count.is_over(now, content)

    return list(answers())


def test_silence_for_the_whole_limit_is_the_end() -> None:
    assert counted((25, b"a"), (30, b"a"), (29, b"a"), (1, b"a")) == [False, False, False, True]


@pytest.mark.parametrize("first", [None, b"a", b"anything at all"])
def test_whatever_is_there_at_boot_is_armed_from_then_on(first: bytes | None) -> None:
    assert counted((30, first), (29, first), (1, first), first=first) == [False, False, True]


def test_every_change_begins_the_count_anew() -> None:
    beats = [(25.0, bytes([number])) for number in range(100)]
    assert not any(counted(*beats))


def test_the_same_word_again_is_no_change() -> None:
    assert counted((30, b"a"), (30, b"a"), (30, b"a"), first=b"a") == [False, True, True]


def test_a_file_that_is_gone_is_no_change_and_neither_is_its_return_as_it_was() -> None:
    assert counted((30, None), (29, b"a"), (1, None), first=b"a") == [False, False, True]


def test_off_lasts_until_another_word_comes() -> None:
    day = [(30.0, OFF)] * 2880
    assert not any(counted(*day, (30.0, None), (30.0, OFF), first=OFF))
    assert counted(*day, (30, b"a"), (30, b"a"), (30, b"a"), first=OFF)[-3:] == [False, False, True]
    assert counted((30, OFF), (30, OFF), (30, OFF), first=b"a") == [False, False, False]


def test_time_in_which_nothing_ran_here_does_not_count() -> None:
    """A hibernation, whatever it does to the clock: control plane and machine wake up together."""
    assert counted((20, b"a"), (8 * 3600, b"a"), (29, b"a"), (1, b"a")) == [False, False, False, True]
