"""What EC2 refuses in a request by its form alone, with its codes: tags, user-data, disks, profiles."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ciab.localec2.api.wire import ApiError

Params = Mapping[str, Any]

USER_DATA_BYTES = 16384
_TAGGED_AT_LAUNCH = {"instance", "volume", "network-interface", "spot-instances-request"}
_IOPS = {"gp3": range(3000, 16001), "io1": range(100, 64001), "io2": range(100, 256001)}
_PROFILE_NAME = re.compile(r"[\w+=,.@-]{1,128}")
_PROFILE_ARN = re.compile(r"arn:aws[\w-]*:iam::\d{12}:instance-profile/([\w+=,.@/-]+)")
_SHUTDOWN = ("stop", "terminate")


def dry_run(params: Params) -> None:
    """Call it when everything else is checked: with DryRun set, success is this error."""
    if params.get("DryRun"):
        raise ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def tags_at_launch(params: Params) -> dict[str, dict[str, str]]:
    """Resource type -> its tags."""
    specified: dict[str, dict[str, str]] = {}
    for spec in params.get("TagSpecifications", []):
        kind = spec.get("ResourceType", "")
        if kind not in _TAGGED_AT_LAUNCH:
            raise ApiError(
                "InvalidParameterValue", f"'{kind}' is not a valid taggable resource type for this operation."
            )
        specified.setdefault(kind, {}).update(tags(spec.get("Tags", [])))
    for given in specified.values():
        not_too_many_tags(len(given))
    return specified


def tags(listed: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The tags of one resource in one call; the sum with what it has already is the caller's to check."""
    result: dict[str, str] = {}
    for tag in listed:
        key, value = tag.get("Key", ""), tag.get("Value", "")
        if not key:
            raise ApiError("InvalidParameterValue", "Tag key cannot be empty.")
        if key.lower().startswith("aws:"):
            raise ApiError(
                "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use"
            )
        if len(key) > 127:
            raise ApiError("InvalidParameterValue", "Tag key exceeds the maximum length of 127 characters")
        if len(value) > 256:
            raise ApiError("InvalidParameterValue", "Tag value exceeds the maximum length of 256 characters")
        if key in result:
            raise ApiError("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        result[key] = value
    not_too_many_tags(len(result))
    return result


def not_too_many_tags(count: int) -> None:
    """Of one resource, in all."""
    if count > 50:
        raise ApiError("TagLimitExceeded", "More than 50 tags specified")


def user_data(encoded: str | None) -> bytes | None:
    """The bytes of a UserData parameter."""
    if not encoded:
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ApiError("InvalidParameterValue", "Invalid BASE64 encoding of user data.") from None
    if len(data) > USER_DATA_BYTES:
        raise ApiError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")
    return data


def disk(name: str, ebs: Params, smallest_gib: int) -> None:
    """One EBS volume of a block device mapping."""
    kind = ebs.get("VolumeType", "gp2")
    iops = ebs.get("Iops")
    size = ebs.get("VolumeSize", smallest_gib)
    if kind not in {"gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"}:
        raise ApiError("InvalidParameterValue", f"Invalid volume type '{kind}' for {name}.")
    if size < smallest_gib:
        raise ApiError(
            "InvalidBlockDeviceMapping",
            f"Volume of size {size}GB is smaller than snapshot, expect size >= {smallest_gib}GB",
        )
    if iops is None:
        if kind in {"io1", "io2"}:
            raise ApiError(
                "MissingParameter", f"The parameter iops must be specified for {kind} volumes ({name})."
            )
        return
    if kind not in _IOPS:
        raise ApiError(
            "InvalidParameterCombination", f"The parameter iops is not supported for {kind} volumes."
        )
    if iops not in _IOPS[kind]:
        allowed = _IOPS[kind]
        raise ApiError(
            "InvalidParameterValue",
            f"Volume iops of {iops} is not between {allowed.start} and {allowed.stop - 1} for {kind}.",
        )
    if iops > size * (50 if kind == "io1" else 500):
        raise ApiError(
            "InvalidParameterCombination", f"Iops to volume size ratio of {iops}:{size} is too high"
        )


def instance_profile(given: Params, unknown: Sequence[str], account: str) -> str | None:
    """The ARN of the profile that a request names by name or by ARN. IAM itself is not played: every
    well-formed profile exists, but for those in `unknown`."""
    name, arn = given.get("Name"), given.get("Arn")
    if name and arn:
        raise ApiError(
            "InvalidParameterCombination",
            "The parameter 'iamInstanceProfile.name' may not be used in combination with "
            "'iamInstanceProfile.arn'",
        )
    if name is None and arn is None:
        return None
    found = _PROFILE_ARN.fullmatch(arn) if arn else _PROFILE_NAME.fullmatch(name or "")
    plain = found and (found.group(1).rpartition("/")[2] if arn else found.group(0))
    if plain is None or plain in unknown:
        word = "ARN" if arn else "name"
        raise ApiError(
            "InvalidParameterValue",
            f"Value ({arn or name}) for parameter iamInstanceProfile.{word.lower()} is invalid. "
            f"Invalid IAM Instance Profile {word}",
        )
    return arn or f"arn:aws:iam::{account}:instance-profile/{name}"


def hibernation(given: Params, root: Params, memory_mib: int) -> bool:
    """Whether the instance is to be able to hibernate; `root` is its root volume."""
    if not given.get("Configured", False):
        return False
    if not root.get("Encrypted", False):
        problem = "the root volume must be encrypted"
    elif root["VolumeSize"] * 1024 < memory_mib:
        problem = f"the root volume must hold the memory of {memory_mib} MiB"
    else:
        return True
    raise ApiError("UnsupportedHibernationConfiguration", f"Hibernation cannot be configured: {problem}.")


def shutdown_behaviour(value: str | None) -> str:
    if value is not None and value not in _SHUTDOWN:
        raise ApiError(
            "InvalidParameterValue",
            f"Value ({value}) for parameter instanceInitiatedShutdownBehavior is invalid.",
        )
    return value or "stop"


def metadata_options(given: Params) -> dict[str, Any]:
    if given.get("HttpTokens", "optional") not in {"optional", "required"}:
        raise ApiError("InvalidParameterValue", f"Value ({given['HttpTokens']}) for HttpTokens is invalid.")
    if int(given.get("HttpPutResponseHopLimit", 1)) not in range(1, 65):
        raise ApiError("InvalidParameterValue", "HttpPutResponseHopLimit must be between 1 and 64.")
    return dict(given)
