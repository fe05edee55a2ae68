"""What may be written on machines as tags, whoever asks for it: a sandbox, a workspace or the configuration.

Limits are EC2's: 50 tags a resource, keys up to 127 characters, values up to 256, `aws:` reserved
in any case.
"""

from collections.abc import Mapping

SANDBOX_ID = "ciab-sandbox-id"
MANAGED = "ciab-managed"
TRUE = "true"
"""The value of MANAGED; with another one, or none, a thing is not ours to touch."""
NAME = "Name"
OWNER = "ciab-owner"
RELEASED = "ciab-released"
"""On what a delete left to its user; it comes before `ciab-managed` goes."""
KEEP = "ciab-keep"
"""A user's word, with any value, that no sweep may take this."""
BUILD_ID = "ciab-build-id"
"""On what belongs to an image build."""

OURS = frozenset({SANDBOX_ID, MANAGED, NAME, OWNER, RELEASED})
"""Set by us; nobody may override them, and there must be room for all of them on every machine."""

MAX_TAGS = 50
MAX_USER_TAGS = MAX_TAGS - len(OURS)
MAX_KEY = 127
MAX_VALUE = 256


def problem_with(tags: Mapping[str, str]) -> str | None:
    """Why EC2 or we would refuse these tags, in words for a person; None when they are fine."""
    if len(tags) > MAX_USER_TAGS:
        return (
            f"{len(tags)} tags are too many: EC2 takes {MAX_TAGS} a resource "
            f"and CIAB sets {len(OURS)} of its own, which leaves {MAX_USER_TAGS}"
        )
    for key, value in tags.items():
        problem = _problem_with_one(key, value)
        if problem:
            return problem
    return None


def _problem_with_one(key: str, value: str) -> str | None:
    if key in OURS:
        return f"the tag {key!r} is set by CIAB and cannot be overridden"
    if key.lower().startswith("aws:"):
        return f"the tag {key!r} begins with 'aws:', which AWS reserves for itself"
    if not 1 <= len(key) <= MAX_KEY:
        return f"a tag's key has 1 to {MAX_KEY} characters, not {len(key)}"
    if len(value) > MAX_VALUE:
        return f"the value of the tag {key!r} has {len(value)} characters; EC2 takes {MAX_VALUE}"
    if not (key + value).isprintable():
        return f"the tag {key!r} holds characters that cannot be printed"
    return None
