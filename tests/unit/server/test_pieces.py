"""Small parts of the server: readiness, the log's lines, and the numbers of errors."""

import asyncio
import json
import logging

import pytest

from ciab.core import errors
from ciab.core.errors import RuntimeUnavailable
from ciab.server.errors import status_of
from ciab.server.logs import JsonLines, TextLines
from ciab.server.readiness import Check, Readiness
from ciab.server.tracing import REQUEST_ID


async def test_checks_are_asked_once_for_many_and_again_when_their_answer_is_old() -> None:
    asked, now = 0, 100.0

    async def action() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise RuntimeUnavailable("it is gone")

    readiness = Readiness(Check("the runtime", action, good_for=10), ticks=lambda: now)
    assert await asyncio.gather(*(readiness.troubles() for _ in range(5))) == [[]] * 5
    assert asked == 1
    now += 11
    assert list(await readiness.troubles()) == ["the runtime: it is gone"]
    assert asked == 2


def _record(**extra: object) -> logging.LogRecord:
    record = logging.LogRecord("ciab.x", logging.INFO, __file__, 1, "machine launched", (), None)
    vars(record).update(extra)
    return record


def test_text_lines_are_one_line_with_quoted_values() -> None:
    token = REQUEST_ID.set("r-1")
    line = TextLines().format(_record(action="machine_launched", reason="two words\nand a line", none=None))
    REQUEST_ID.reset(token)
    assert line.endswith(
        'info    machine launched action=machine_launched reason="two words\\nand a line" request=r-1'
    )


def test_json_lines_are_objects() -> None:
    entry = json.loads(JsonLines().format(_record(action="machine_launched", count=3)))
    assert (entry["message"], entry["level"], entry["count"]) == ("machine launched", "info", 3)
    assert entry["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (errors.InvalidState, 409),
        (errors.BudgetExceeded, 409),
        (errors.MachineEnded, 502),
        (errors.MachineStopped, 502),
        (errors.SpotInterrupted, 502),
        (errors.CapacityUnavailable, 503),
    ],
)
def test_errors_of_a_life_have_their_numbers(kind: type[errors.CiabError], number: int) -> None:
    assert status_of(kind("what happened")) == number
