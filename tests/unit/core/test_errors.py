"""The tree of errors: codes are part of the wire contract."""

import re
from collections import Counter
from collections.abc import Iterator

from ciab.core.errors import CiabError, InvalidRequest, StepFailed

CONTRACT = {
    "config_error", "invalid_request", "unauthorized", "forbidden", "sandbox_not_found", "file_not_found",
    "agent_provider_not_found", "sandbox_invalid_state", "conflict", "rate_limited", "ec2_error",
    "ssh_error", "capacity_unavailable", "runtime_unavailable", "guest_unreachable", "timeout",
    "internal_error", "command_failed",
}  # fmt: skip


def tree(root: type[CiabError]) -> Iterator[type[CiabError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_codes_are_unique_and_snake_case() -> None:
    own = [error.code for error in tree(CiabError) if "code" in vars(error)]
    assert not [code for code, times in Counter(own).items() if times > 1]
    assert all(re.fullmatch(r"[a-z0-9_]+", code) for code in own)


def test_the_contracts_codes_are_there() -> None:
    assert {error.code for error in tree(CiabError)} >= CONTRACT


def test_a_failed_step_speaks_with_its_causes_words() -> None:
    failed = StepFailed("choose_image", InvalidRequest("no such image", hint="choose another"))
    assert (failed.message, failed.hint, failed.cause.code) == (
        "no such image",
        "choose another",
        "invalid_request",
    )
