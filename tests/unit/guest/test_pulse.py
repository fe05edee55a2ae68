"""From two looks at the processes to what was used between them."""

from ciab.guest.processes import Process
from ciab.guest.pulse import used


def process(pid: int, parent: int, own: int, kids: int, start: int = 100) -> Process:
    """As proc(5) has it: own ticks half in user mode, half in the kernel's."""
    fields = [parent, *[0] * 9, own - own // 2, own // 2, kids - kids // 2, kids // 2, *[0] * 4, start]
    return Process(pid, f"{pid} (a ) name) S " + " ".join(map(str, fields)))


def between(before: list[Process], now: list[Process]) -> int:
    return used({str(one.pid): [one.start, one.parent, one.own, one.kids] for one in before}, now)


def test_a_line_of_proc_is_read_whatever_the_name() -> None:
    one = process(7, 3, own=11, kids=5)
    assert (one.pid, one.parent, one.name, one.state) == (7, 3, "a ) name", "S")
    assert (one.own, one.kids, one.start) == (11, 5, 100)


def test_what_goes_on_counts_by_what_it_gained() -> None:
    assert between([process(7, 1, 50, 20)], [process(7, 1, 150, 60)]) == 140 - 1


def test_what_is_new_counts_fully_also_under_an_old_number() -> None:
    assert between([], [process(7, 1, 50, 20)]) == 70 - 1
    assert between([process(7, 1, 60, 60, start=1)], [process(7, 1, 50, 20, start=2)]) == 70 - 1


def test_one_tick_of_a_process_may_be_rounding() -> None:
    before = [process(pid, 1, 0, 0) for pid in range(10, 60)]
    assert between(before, [process(pid, 1, 1, 0) for pid in range(10, 60)]) == 0


def test_short_children_count_in_their_parent() -> None:
    assert between([process(7, 1, 5, 0)], [process(7, 1, 5, 300)]) == 300 - 1


def test_what_a_child_had_used_before_is_not_counted_again_at_its_end() -> None:
    before = [process(7, 1, 5, 0), process(8, 7, 1000, 0)]
    assert between(before, [process(7, 1, 5, 1040)]) == 40 - 1


def test_not_even_when_its_parent_has_ended_too() -> None:
    before = [process(7, 1, 5, 0), process(8, 7, 10, 0), process(9, 8, 1000, 0)]
    assert between(before, [process(7, 1, 5, 1010 + 30)]) == 30 - 1


def test_an_end_that_nobody_counts_makes_nothing_negative() -> None:
    before = [process(7, 1, 5, 0), process(8, 7, 1000, 0), process(9, 1, 1000, 0)]
    assert between(before, [process(7, 1, 105, 0)]) == 100 - 1
