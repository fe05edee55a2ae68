"""The tree of the metadata service: what EC2 tells an instance, and how its folders are listed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ciab.localec2.host import MachineOrder, Notice
from ciab.localec2.image.imds import Tree, hostname, look_up, metadata

MAC = "02:00:00:00:00:01"


def order(**changed: object) -> MachineOrder:
    fields: dict[str, object] = {
        "instance_id": "i-0123456789abcdef0",
        "region": "us-east-1",
        "zone": "us-east-1a",
        "instance_type": "t3.medium",
        "image_id": "ami-0123456789abcdef0",
        "folder": Path("/nowhere"),
        "private_ip": "127.30.1.2",
        "public_ip": None,
        "user_data": None,
        "key_name": None,
        "public_key": None,
    }
    return MachineOrder(**(fields | changed))  # type: ignore[arg-type]  # the table above has the right types


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "latest"),
        ("/latest/", "dynamic/\nmeta-data/"),
        ("/latest/meta-data/ami-id", "ami-0123456789abcdef0"),
        ("/2021-03-23/meta-data/instance-type/", "t3.medium"),
        ("/latest/meta-data/placement", "availability-zone\nregion"),
        ("/latest/meta-data/mac", MAC),
        (f"/latest/meta-data/network/interfaces/macs/{MAC}/device-number", "0"),
        ("/latest/meta-data/local-hostname", "ip-127-30-1-2.ec2.internal"),
        ("/latest/meta-data/public-ipv4", None),
        ("/latest/meta-data/public-keys/", None),
        ("/latest/meta-data/ami-id/below", None),
        ("/latest/user-data", None),
        ("/newest/meta-data/ami-id", None),
    ],
)
def test_a_path_finds_what_ec2_has_there(path: str, found: str | None) -> None:
    assert look_up(metadata(order(), MAC), path) == found


def test_user_data_is_the_callers_bytes() -> None:
    data = b"\x1f\x8b\x00\xff"
    assert look_up(metadata(order(user_data=data), MAC), "/latest/user-data") == data


def test_a_key_pair_is_listed_by_number_and_name_and_read_by_number() -> None:
    tree: Tree = metadata(order(key_name="mine", public_key="ssh-ed25519 AAAA mine\n"), MAC)
    assert look_up(tree, "/latest/meta-data/public-keys/") == "0=mine"
    assert look_up(tree, "/latest/meta-data/public-keys/0/") == "openssh-key"
    assert look_up(tree, "/latest/meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAA mine"


def test_a_spot_machine_is_told_only_when_it_is_to_be_taken_back() -> None:
    path = "/latest/meta-data/spot/instance-action"
    assert look_up(metadata(order(spot=True), MAC), path) is None
    assert look_up(metadata(order(spot=True), MAC), "/latest/meta-data/instance-life-cycle") == "spot"
    told = metadata(order(spot=True), MAC, Notice("terminate", datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC)))
    text = look_up(told, path)
    assert isinstance(text, str)
    assert json.loads(text) == {"action": "terminate", "time": "2031-01-02T03:04:05Z"}
    assert look_up(told, "/latest/meta-data/spot/termination-time") == "2031-01-02T03:04:05Z"


def test_the_identity_document_names_instance_and_place() -> None:
    text = look_up(metadata(order(region="eu-west-1"), MAC), "/latest/dynamic/instance-identity/document")
    assert isinstance(text, str)
    document = json.loads(text)
    assert (document["instanceId"], document["region"]) == ("i-0123456789abcdef0", "eu-west-1")


def test_other_regions_than_the_first_have_their_own_domain() -> None:
    tree = metadata(order(region="eu-west-1"), MAC)
    assert look_up(tree, "/latest/meta-data/hostname") == "ip-127-30-1-2.eu-west-1.compute.internal"
    assert hostname(order()) == "ip-127-30-1-2"
