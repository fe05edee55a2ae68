"""What EC2's errors mean, by one table, and how they are told to a person.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from aiohttp import ClientError as HttpError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from ciab.core.errors import CapacityUnavailable, RuntimeFault, RuntimeRejected, RuntimeUnavailable


class Meaning(Enum):
    """What an error says about the call. All but UNSURE are EC2's clear word that it did nothing."""

    CAPACITY = auto()
    """Not here, not this type: another one may do."""
    QUOTA = auto()
    THROTTLED = auto()
    DENIED = auto()
    """Credentials or permissions; EC2 looks at them before it looks at anything else."""
    REFUSED = auto()
    UNSURE = auto()
    """Lost on the way, or a server error: the work may have been done."""


_MEANINGS = {
    # InsufficientInstanceCapacity comes with HTTP status 500: codes count before the status
    "InsufficientInstanceCapacity": Meaning.CAPACITY,
    "InsufficientHostCapacity": Meaning.CAPACITY,
    "InsufficientCapacity": Meaning.CAPACITY,
    "Unsupported": Meaning.CAPACITY,
    "InsufficientFreeAddressesInSubnet": Meaning.CAPACITY,
    "SpotMaxPriceTooLow": Meaning.CAPACITY,
    "UnfulfillableCapacity": Meaning.CAPACITY,
    # the quota of spot requests only: the same machine on demand is counted elsewhere
    "MaxSpotInstanceCountExceeded": Meaning.CAPACITY,
    "VcpuLimitExceeded": Meaning.QUOTA,
    "InstanceLimitExceeded": Meaning.QUOTA,
    "VolumeLimitExceeded": Meaning.QUOTA,
    "MaxIOPSLimitExceeded": Meaning.QUOTA,
    "NetworkInterfaceLimitExceeded": Meaning.QUOTA,
    "RequestLimitExceeded": Meaning.THROTTLED,
    "TooManyRequestsException": Meaning.THROTTLED,
    "RequestThrottled": Meaning.THROTTLED,
    "RequestThrottledException": Meaning.THROTTLED,
    "UnauthorizedOperation": Meaning.DENIED,
    "AccessDenied": Meaning.DENIED,
    "AccessDeniedException": Meaning.DENIED,
    "AuthFailure": Meaning.DENIED,
    "InvalidClientTokenId": Meaning.DENIED,
    "UnrecognizedClientException": Meaning.DENIED,
    "SignatureDoesNotMatch": Meaning.DENIED,
    "IncompleteSignature": Meaning.DENIED,
    "MissingAuthenticationToken": Meaning.DENIED,
    "ExpiredToken": Meaning.DENIED,
    "ExpiredTokenException": Meaning.DENIED,
    "RequestExpired": Meaning.DENIED,
    "OptInRequired": Meaning.DENIED,
    "PendingVerification": Meaning.DENIED,
    "Blocked": Meaning.DENIED,
    "InternalError": Meaning.UNSURE,
    "InternalFailure": Meaning.UNSURE,
    "ServerInternal": Meaning.UNSURE,
    "ServiceUnavailable": Meaning.UNSURE,
    "Unavailable": Meaning.UNSURE,
    "RequestTimeout": Meaning.UNSURE,
}

PERMISSION = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
"""Who we are is known, and it may not do this."""
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_HOW_CREDENTIALS = (
    "credentials are looked for in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in ~/.aws (AWS_PROFILE names "
    "the profile), in SSO (aws sso login) and in the instance's role; `aws sts get-caller-identity` tells"
)
_HINTS = {
    "InvalidAMIID": "check the image's id and that it is in this region and shared with this account",
    "InvalidSubnetID": "check the subnet's id; each region has its own ([runtime.ec2.regions.NAME])",
    "InvalidGroup": "check security_group_ids; they belong to one region and to the subnet's VPC",
    "InvalidSecurityGroupID": "check security_group_ids; they belong to one region and to the subnet's VPC",
    "VPCIdNotSpecified": "this region has no default VPC: set subnet_id",
    "MissingInput": "this region has no default subnet: set subnet_id",
    "InvalidInstanceType": "check instance_type; not every region has every type",
    "InvalidKeyPair": "check key_pair_name; each region has its own key pairs",
    "AuthFailure": "make the service-linked role of spot instances once: "
    "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com",
    "OperationNotPermitted": "termination protection, perhaps: switch it off, then try again",
    "IdempotentParameterMismatch": "a fault of CIAB: a repeated launch differed from its first request",
}

NOT_FOUND = frozenset(
    {"InvalidInstanceID.NotFound", "InvalidVolume.NotFound", "InvalidNetworkInterfaceID.NotFound"}
)
"""What is named is gone, or not visible yet."""

FOREIGN = (ClientError, BotoCoreError, ResponseParserError, HttpError, TimeoutError)
"""All that a call of aiobotocore raises."""


def code_of(error: BaseException) -> str:
    """EC2's own code, or the empty text."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def meaning(error: BaseException) -> Meaning:
    """What an error of a call says; see `FOREIGN`."""
    if not isinstance(error, ClientError):
        clear = isinstance(error, (*_NO_CREDENTIALS, ParamValidationError))
        if not clear:
            return Meaning.UNSURE
        return Meaning.REFUSED if isinstance(error, ParamValidationError) else Meaning.DENIED
    code = code_of(error)
    if found := _MEANINGS.get(code):
        return found
    if code.startswith("Throttling"):
        return Meaning.THROTTLED
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return Meaning.UNSURE if status >= 500 or not code else Meaning.REFUSED


@contextmanager
def translated(trying: str) -> Iterator[None]:
    """Turn what a call raises into a fault. `trying` goes into "could not ..."."""
    try:
        yield
    except FOREIGN as error:
        raise fault(trying, error) from error


def fault(trying: str, error: BaseException) -> RuntimeFault:
    """The fault of an error, in words: what was tried, what EC2 said, what to do."""
    code, said = code_of(error), _said(error)
    match meaning(error):
        case Meaning.CAPACITY:
            return CapacityUnavailable(
                f"could not {trying}: no capacity ({code}): {said}",
                hint="capacity comes and goes: try again in a few minutes",
            )
        case Meaning.QUOTA:
            return RuntimeRejected(
                f"could not {trying}: the quota of the AWS account is used up ({code}): {said}",
                hint="end what is not needed, or ask for more at Service Quotas, "
                f"{_QUOTAS.get(code, 'Amazon EC2')}",
            )
        case Meaning.THROTTLED:
            return RuntimeUnavailable(
                f"could not {trying}: EC2 takes no more requests for now ({code})",
                hint="it is tried again; something else in this account may be calling EC2 a lot",
            )
        case Meaning.DENIED:
            return _denied(trying, error)
        case Meaning.REFUSED:
            return RuntimeRejected(
                f"could not {trying}: {said}" + (f" ({code})" if code else ""),
                hint=_HINTS.get(code.split(".")[0]),
            )
        case Meaning.UNSURE:
            return RuntimeUnavailable(
                f"could not {trying}: {said}",
                hint="it is tried again; check the network, the region's name and endpoint_url if it goes on",
            )


_QUOTAS = {
    "VcpuLimitExceeded": "Amazon EC2, running instances (vCPUs) of this type's family",
    "InstanceLimitExceeded": "Amazon EC2, running instances",
    "VolumeLimitExceeded": "Amazon EBS, storage of this volume type",
    "MaxIOPSLimitExceeded": "Amazon EBS, IOPS of this volume type",
    "NetworkInterfaceLimitExceeded": "Amazon VPC, network interfaces per region",
}


_SERVICES = {"GetCallerIdentity": "sts", "GetParameter": "ssm", "GetServiceQuota": "servicequotas"}


def _denied(trying: str, error: BaseException) -> RuntimeRejected:
    code, said = code_of(error), _said(error)
    if isinstance(error, _NO_CREDENTIALS):
        return RuntimeRejected(
            f"could not {trying}: no usable AWS credentials: {said}", hint=_HOW_CREDENTIALS
        )
    if code not in PERMISSION or not isinstance(error, ClientError):
        return RuntimeRejected(
            f"could not {trying}: AWS does not accept the credentials ({code}): {said}", hint=_HOW_CREDENTIALS
        )
    action = _action(error)
    return RuntimeRejected(
        f"could not {trying}: these credentials may not do {action} ({code}): {said}",
        hint=f'allow it in IAM: {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}',
    )


def _action(error: ClientError) -> str:
    # The message names the action when it is not the call's own: iam:PassRole, ec2:CreateTags.
    if named := re.search(r"perform: ([a-z0-9-]+:[A-Za-z]+)", str(error)):
        return named[1]
    service = _SERVICES.get(error.operation_name, "ec2")
    return f"{service}:{error.operation_name}"


def _said(error: BaseException) -> str:
    if isinstance(error, ClientError):
        text = str(error.response.get("Error", {}).get("Message") or "it gave no reason")
        # long, only for sts:DecodeAuthorizationMessage, and not ours to show
        return re.sub(r"\s*Encoded authorization failure message: \S+", "", text)[:600]
    if isinstance(error, ParamValidationError):
        # its own text repeats values, and one of them is the user-data with the host key
        names = sorted(set(re.findall(r"parameter (\S+?),? ", str(error)))) or ["the request"]
        return f"not valid: {', '.join(names)}"
    if isinstance(error, (ResponseParserError, HttpError)):
        return "the answer was cut off or is not EC2's"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, (HTTPClientError, BotoCoreError)):
        return str(error)[:600]
    return type(error).__name__
