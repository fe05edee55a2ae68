"""moto's EC2, called in process: what it knows, how a call gets in and an answer out.

Importing this module imports moto, which takes about two seconds: only `engine` does it, in a thread.
"""

import os
from pathlib import Path
from typing import Any

from ciab.localec2.api.plain import ACCOUNT

os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # read by moto when it is imported; the images are ours
os.environ["MOTO_ACCOUNT_ID"] = ACCOUNT
# moto has botocore read its list of all services' endpoints three times, a third of a second; it asks for
# the regions of EC2 only, so ours, which botocore finds first, has those with every account's default ones.
os.environ["AWS_DATA_PATH"] = str(Path(__file__).parent / "data")

from botocore.model import OperationNotFoundError
from moto.core.exceptions import ServiceException
from moto.core.parse import default_timestamp_parser
from moto.core.request import Request
from moto.core.responses import ActionResult
from moto.core.serialize import return_if_not_empty
from moto.core.utils import camelcase_to_underscores, get_service_model
from moto.ec2.exceptions import FilterNotImplementedError, InvalidInstanceTypeError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses import EC2Response
from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

from ciab.localec2.api.catalogue import TYPES, Offer, offers
from ciab.localec2.api.wire import ApiError, Call, Reply

OFFERED = {kind.name: kind for kind in EC2Backend.instance_types if kind.name in TYPES}


class RegionBackend(EC2Backend):
    """moto's state of one region, with our images and types; it is pickled as it is."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.default_kms_key_id = f"arn:aws:kms:{region_name}:{account_id}:alias/aws/ebs"
        for offer in offers(region_name):
            self.amis[offer.id] = CatalogueImage(self, offer)

    def describe_instance_types(
        self, instance_types: list[str] | None = None, filters: Any = None
    ) -> list[Any]:
        unknown = sorted(set(instance_types or []) - OFFERED.keys())
        if unknown:
            raise InvalidInstanceTypeError(unknown, error_type="InvalidInstanceType")
        return [
            kind for kind in super().describe_instance_types(instance_types, filters) if kind.name in OFFERED
        ]

    def find_subnet(self, subnet_id: str) -> Subnet | None:
        return next((zone[subnet_id] for zone in self.subnets.values() if subnet_id in zone), None)

    def describe_instance_type_offerings(
        self, location_type: str | None = None, filters: dict[str, Any] | None = None
    ) -> list[Any]:
        found = super().describe_instance_type_offerings(location_type, filters)
        return [offering for offering in found if offering["InstanceType"] in OFFERED]

    def describe_tags(self, filters: dict[str, list[str]] | None = None) -> list[dict[str, str]]:
        # moto goes through every tag of the region with regular expressions, for every resource it shows.
        ids = filters.get("resource-id") if filters and len(filters) == 1 else None
        if not ids or len(ids) != 1 or set(ids[0]) & set("*?"):
            return super().describe_tags(filters)
        ident = ids[0]
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(ident), "")
        return [
            {"resource_id": ident, "key": key, "value": value, "resource_type": kind}
            for key, value in self.tags.get(ident, {}).items()
        ]


class CatalogueImage(Ami):
    def __init__(self, backend: EC2Backend, offer: Offer) -> None:
        super().__init__(
            backend,
            offer.id,
            name=offer.name,
            description=offer.name,
            owner_id=offer.owner,
            owner_alias=offer.owner_alias,
            public=True,
            virtualization_type="hvm",
            architecture=offer.architecture,
            creation_date=default_timestamp_parser(offer.created),
            image_location=f"{offer.owner}/{offer.name}",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name=offer.root_device,
            region_name=f"{backend.region_name}a",
        )
        self.disk_gib = offer.disk_gib

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        disk = {
            "SnapshotId": self.ebs_snapshot.id,
            "VolumeSize": self.disk_gib,
            "DeleteOnTermination": True,
            "VolumeType": "gp2",
            "Encrypted": False,
        }
        return [{"DeviceName": self.root_device_name, "Ebs": disk}]


class Ec2(EC2Response):
    """One call in moto's terms: `params` is read from the Query form, results are written as EC2's XML."""

    RESPONSE_KEY_PATH_TO_TRANSFORMER = {  # moto declares it without ClassVar
        path: change
        for path, change in EC2Response.RESPONSE_KEY_PATH_TO_TRANSFORMER.items()
        # A replayed RunInstances shows the state as it is; moto always says pending.
        if path != "RunInstances.Reservation.Instances.Instance.State"
    } | {
        # An interface without a public address has no association.
        "NetworkInterfaces.InstanceNetworkInterface.Association": return_if_not_empty,
    }

    params: dict[str, Any]

    def __init__(self, call: Call) -> None:
        super().__init__()
        request = Request.from_primitives("POST", "http://127.0.0.1/", call.headers, call.body)
        self.setup_class(request)
        self.region = call.region

    def moto(self) -> Reply:
        """Let moto do the action by itself. Raises ApiError."""
        method = getattr(self, camelcase_to_underscores(self._get_action()), None)
        if method is None:
            raise _unknown(self._get_action())
        try:
            result = method()
        except ServiceException as exc:
            raise ApiError(exc.code, exc.message, 412 if exc.code == "DryRunOperation" else 400) from exc
        except FilterNotImplementedError as exc:
            raise ApiError("InvalidParameterValue", f"A filter is invalid: {exc}") from exc
        except NotImplementedError as exc:
            raise _unknown(self._get_action()) from exc
        return self.reply(result.result)

    def reply(self, result: object) -> Reply:
        status, _, body = self.serialized(ActionResult(result))
        return Reply(status, body.encode() if isinstance(body, str) else body)


def warm() -> None:
    """Read the API's description now, which else the first call would wait for."""
    get_service_model("ec2").operation_model("RunInstances")


def read(call: Call) -> Ec2:
    """Raises ApiError when the parameters cannot be read."""
    try:
        return Ec2(call)
    except OperationNotFoundError as exc:
        raise _unknown(call.action) from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise ApiError(
            "InvalidParameterValue", f"A parameter of {call.action} cannot be read: {exc}"
        ) from exc


def _unknown(action: str) -> ApiError:
    return ApiError("InvalidAction", f"The action {action} is not valid for this web service.")


def attach(backend: RegionBackend) -> None:
    """Make it the one that moto's own code finds."""
    ec2_backends[ACCOUNT][backend.region_name] = backend


def known_region(name: str) -> bool:
    return name in ec2_backends[ACCOUNT] and bool(EC2Backend.zones.get(name))
