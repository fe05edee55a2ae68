"""The tags of a machine: whose they are, which are ours, and what EC2 accepts.

Limits as EC2's documentation has them: 50 tags a resource, keys of up to 127 characters (128 less
room that some services need), values of up to 256, `aws:` reserved whatever its case.
"""

from collections.abc import Mapping

from ciab.core.ids import OwnerId, SandboxId

SANDBOX_TAG = "ciab-sandbox-id"
MANAGED_TAG = "ciab-managed"
OWNER_TAG = "ciab-owner"
NAME_TAG = "Name"
OURS = (SANDBOX_TAG, MANAGED_TAG, OWNER_TAG, NAME_TAG)

MAX_TAGS = 50
MAX_KEY = 127
MAX_VALUE = 256


def complaint(tags: Mapping[str, str]) -> str | None:
    """What is wrong with these tags of a user, naming the tag; None when nothing is."""
    for key, value in tags.items():
        if wrong := _wrong(key, value):
            return wrong
    room = MAX_TAGS - len(OURS)
    if len(tags) > room:
        return f"{len(tags)} tags are too many: EC2 takes {MAX_TAGS} and CIAB needs {len(OURS)} of them"
    return None


def tags_of(
    sandbox_id: SandboxId, name: str, owner: OwnerId, configured: Mapping[str, str], wanted: Mapping[str, str]
) -> dict[str, str]:
    """All tags of a sandbox's machine: those of its spec win over the configured ones, ours over both."""
    ours = {
        SANDBOX_TAG: str(sandbox_id),
        MANAGED_TAG: "true",
        OWNER_TAG: str(owner),
        NAME_TAG: f"ciab-{name}"[:MAX_VALUE],
    }
    return {**configured, **wanted, **ours}


def _wrong(key: str, value: str) -> str | None:
    checks = (
        (not key.strip(), "a tag needs a name"),
        (key in OURS, f"tag {key!r} is set by CIAB and cannot be overridden"),
        (
            key.lower().startswith("aws:"),
            f"tag {key!r} is not allowed: names that begin with 'aws:' are reserved by AWS",
        ),
        (
            len(key) > MAX_KEY,
            f"the name of tag {key[:40]!r}... has {len(key)} characters; EC2 takes {MAX_KEY}",
        ),
        (
            len(value) > MAX_VALUE,
            f"the value of tag {key!r} has {len(value)} characters; EC2 takes {MAX_VALUE}",
        ),
        (not (key + value).isprintable(), f"tag {key!r} holds control characters"),
    )
    return next((wrong for happens, wrong in checks if happens), None)
