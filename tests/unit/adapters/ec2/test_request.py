"""From an order to RunInstances: the whole request, and what each wish changes in it."""

import json
from dataclasses import replace
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ciab.adapters.ec2.request import Candidate, Request, candidates, check, run_instances
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.adapters.ec2.userdata import MAX_BYTES, user_data
from ciab.core.errors import InvalidRequest, RuntimeRejected
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import KeyPair, LaunchOrder, Login, MachineImage, Place, SandboxKeys, Site
from ciab.core.secret import Secret
from ciab.core.spec import Ec2Overrides, Persistence, Spec

ID = SandboxId("0b0f1f7e-9f57-4f55-a6f4-c1e3b7c54d11")
USER = KeyPair("ssh-ed25519 AAAAuser\n", Secret("PRIVATE USER KEY"))
HOST = KeyPair("ssh-ed25519 AAAAhost\n", Secret("-----BEGIN\nPRIVATE HOST KEY\n"))
KEYS = SandboxKeys(USER, HOST)
PLAIN = Candidate("t3.medium", None)


def order(spec: Spec, region: str = "us-east-1", port: int = 22, name: str = "box") -> LaunchOrder:
    site = Site(Place("ec2", "1", "", region), Login("ubuntu", port, "public"))
    image = MachineImage("ami-1", "/dev/xvda", "x86_64")
    return LaunchOrder(ID, name, spec, site, image, KEYS, USER.public.strip())


def built(spec: Spec | None = None, candidate: Candidate = PLAIN, **settings: Any) -> Request:
    made = Ec2Settings.model_validate(settings)
    return run_instances(order(spec or Spec("command")), made, OwnerId("owner"), candidate, "token-1")


def wanting(**overrides: Any) -> Spec:
    return Spec("command", ec2=Ec2Overrides(**overrides))


def worn(request: Request) -> dict[str, str]:
    """The tags, which must be the same on all three resources."""
    listed = request["TagSpecifications"]
    assert [one["ResourceType"] for one in listed] == ["instance", "volume", "network-interface"]
    assert listed[0]["Tags"] == listed[1]["Tags"] == listed[2]["Tags"]
    return {tag["Key"]: tag["Value"] for tag in listed[0]["Tags"]}


def test_the_whole_request_of_a_plain_order() -> None:
    request = built()
    assert worn(request) == {
        "Name": "ciab-box",
        "ciab-managed": "true",
        "ciab-owner": "owner",
        "ciab-sandbox-id": ID,
    }
    for key in ("UserData", "TagSpecifications"):
        request.pop(key)
    assert request == {
        "ClientToken": "token-1",
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": "ami-1",
        "InstanceType": "t3.medium",
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "VolumeSize": 30,
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "AssociatePublicIpAddress": True, "DeleteOnTermination": True}
        ],
    }


def test_the_same_order_gives_the_same_bytes() -> None:
    assert json.dumps(built(tags={"b": "2", "a": "1"})) == json.dumps(built(tags={"a": "1", "b": "2"}))


def test_a_request_survives_json() -> None:
    request = built(wanting(tags={"Größe": "ä"}), iam_instance_profile="x")
    assert json.loads(json.dumps(request)) == request


def test_the_specs_tags_win_over_the_configured_ones_and_ours_over_both() -> None:
    shown = worn(built(wanting(tags={"Team": "web"}), tags={"Team": "ops", "Cost": "1"}))
    assert (shown["Team"], shown["Cost"], shown["ciab-managed"]) == ("web", "1", "true")


@pytest.mark.parametrize(
    "name", ["ciab-sandbox-id", "ciab-managed", "ciab-owner", "ciab-released", "Name", "AWS:x", ""]
)
def test_a_tag_that_may_not_be_set_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(wanting(tags={name: "x"}), Ec2Settings())
    assert name in caught.value.message


def test_fifty_tags_with_ours_are_the_most() -> None:
    own = {f"own{n}": "x" for n in range(40)}
    check(wanting(tags={f"more{n}": "x" for n in range(5)}), Ec2Settings(tags=own))
    with pytest.raises(InvalidRequest, match="46"):
        check(wanting(tags={f"more{n}": "x" for n in range(6)}), Ec2Settings(tags=own))
    with pytest.raises(InvalidRequest, match="51"):
        check(wanting(tags={f"t{n}": "x" for n in range(51)}), Ec2Settings())


@hypothesis.settings(deadline=None)
@given(name=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=300))
def test_a_long_name_still_fits_in_a_tag(name: str) -> None:
    request = run_instances(
        order(Spec("command"), name=name), Ec2Settings(), OwnerId("o"), PLAIN, f"{ID}-9999"
    )
    assert len(worn(request)["Name"]) <= 256
    assert len(request["ClientToken"]) <= 64


def test_subnet_groups_and_public_address_stand_in_the_interface() -> None:
    request = built(
        candidate=Candidate("t3.large", "subnet-2"),
        security_group_ids=["sg-1"],
        associate_public_ip=False,
        connect_address="private",
    )
    assert request["NetworkInterfaces"] == [
        {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": False,
            "DeleteOnTermination": True,
            "SubnetId": "subnet-2",
            "Groups": ["sg-1"],
        }
    ]
    assert not {"SubnetId", "SecurityGroupIds"} & request.keys()
    assert request["InstanceType"] == "t3.large"


def test_the_specs_groups_replace_the_configured_ones_even_by_none() -> None:
    wanted = built(wanting(security_group_ids=("sg-2",)), security_group_ids=["sg-1"])
    assert wanted["NetworkInterfaces"][0]["Groups"] == ["sg-2"]
    none = built(wanting(security_group_ids=()), security_group_ids=["sg-1"])
    assert "Groups" not in none["NetworkInterfaces"][0]


def test_a_persistent_machine_is_stopped_by_a_shutdown_inside_and_is_never_spot() -> None:
    request = built(Spec("command", persistence=Persistence.PERSISTENT), spot=True)
    assert request["InstanceInitiatedShutdownBehavior"] == "stop"
    assert "InstanceMarketOptions" not in request


def test_spot_is_one_time_and_excludes_hibernation() -> None:
    settings = {"spot_max_price": "0.05", "hibernate_on_pause": True}
    request = built(wanting(spot=True), replace(PLAIN, spot=True), **settings)
    assert request["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "MaxPrice": "0.05",
        },
    }
    assert "HibernationOptions" not in request
    fallback = built(wanting(spot=True), PLAIN, **settings)
    assert "InstanceMarketOptions" not in fallback
    assert fallback["HibernationOptions"] == {"Configured": True}


def test_a_persistent_spot_machine_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="spot"):
        check(replace(wanting(spot=True), persistence=Persistence.PERSISTENT), Ec2Settings())


def test_candidates_are_each_type_in_every_subnet_without_repeats() -> None:
    settings = Ec2Settings(
        instance_types=["m5.large", "t3.medium"], subnet_id="subnet-1", subnet_ids=["subnet-2", "subnet-1"]
    )
    found = [(one.instance_type, one.subnet_id) for one in candidates(Spec("command"), settings, "us-east-1")]
    assert found == [
        ("t3.medium", "subnet-1"),
        ("t3.medium", "subnet-2"),
        ("m5.large", "subnet-1"),
        ("m5.large", "subnet-2"),
    ]
    there = list(candidates(Spec("command"), settings, "eu-west-1"))
    assert there == [Candidate("t3.medium", None), Candidate("m5.large", None)]
    own = wanting(instance_type="c7g.medium", subnet_id="subnet-9")
    assert list(candidates(own, settings, "us-east-1")) == [Candidate("c7g.medium", "subnet-9")]


def test_spot_is_tried_everywhere_before_anything_is_on_demand() -> None:
    settings = Ec2Settings(instance_types=["m5.large"], spot=True)
    found = list(candidates(Spec("command"), settings, "us-east-1"))
    assert found == [
        Candidate("t3.medium", None, spot=True),
        Candidate("m5.large", None, spot=True),
        Candidate("t3.medium", None),
        Candidate("m5.large", None),
    ]
    assert [str(one) for one in found[1:3]] == [
        "spot m5.large in the default subnet",
        "t3.medium in the default subnet",
    ]
    assert list(candidates(wanting(spot=False), settings, "us-east-1")) == found[2:]
    kept = Spec("command", persistence=Persistence.PERSISTENT)
    assert list(candidates(kept, settings, "us-east-1")) == found[2:]
    own = wanting(spot=True, instance_type="c5.large")
    assert [one.spot for one in candidates(own, Ec2Settings(), "us-east-1")] == [True, False]


def test_a_named_key_pair_is_asked_for() -> None:
    assert "KeyName" not in built()
    made = order(Spec("command"))
    site = replace(made.site, login=replace(made.site.login, key_pair="ops"))
    named = replace(made, site=site, keys=replace(KEYS, user=None), authorized_key="ssh-rsa BBBBops")
    request = run_instances(named, Ec2Settings(), OwnerId("owner"), PLAIN, "token-1")
    assert request["KeyName"] == "ops"
    assert "ssh-rsa BBBBops" in request["UserData"]
    assert "AAAAuser" not in request["UserData"]


@pytest.mark.parametrize("secs", [0, 4321])
def test_machines_are_told_to_end_themselves_when_their_sandbox_was_begun_so(secs: int) -> None:
    made = order(Spec("command"))
    begun = replace(made, site=replace(made.site, orphan_timeout=float(secs)))
    now = Ec2Settings(orphan_timeout_secs=77)
    request = run_instances(begun, now, OwnerId("owner"), PLAIN, "token-1")
    assert request["UserData"] == user_data(HOST, USER.public.strip(), "ubuntu", 22, secs)


def test_user_data_is_cloud_config_with_both_keys_and_no_private_user_key() -> None:
    text = user_data(HOST, USER.public, "agent", 2222, 0)
    first, _, rest = text.partition("\n")
    assert first == "#cloud-config"
    config = yaml.safe_load(text)
    assert config == json.loads(rest)
    assert config["users"][0] == "default"
    assert config["users"][1]["name"] == "agent"
    assert config["users"][1]["ssh_authorized_keys"] == [USER.public.strip()]
    assert config["ssh_keys"] == {
        "ed25519_private": HOST.private.reveal(),
        "ed25519_public": HOST.public.strip(),
    }
    assert (config["disable_root"], config["ssh_deletekeys"]) == (True, True)
    (file,) = config["write_files"]
    assert file["path"] == "/etc/ssh/sshd_config.d/10-ciab.conf"
    assert {"Port 2222", "PasswordAuthentication no"} <= set(file["content"].splitlines())
    assert USER.private.reveal() not in text


def test_the_usual_port_is_left_to_the_image() -> None:
    assert "Port" not in user_data(HOST, USER.public, "ubuntu", 22, 0)


def test_user_data_over_16_kilobytes_is_refused() -> None:
    room = MAX_BYTES - len(user_data(HOST, USER.public, "ubuntu", 22, 0).encode())
    longest = USER.public.strip() + "A" * room
    assert len(user_data(HOST, longest, "ubuntu", 22, 0).encode()) == MAX_BYTES
    with pytest.raises(RuntimeRejected, match="16384") as caught:
        user_data(HOST, longest + "A", "ubuntu", 22, 0)
    assert HOST.private.reveal() not in caught.value.message
