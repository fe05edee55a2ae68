"""`[runtime.ec2]`: defaults as the contract has them, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from ciab.adapters.ec2.settings import Ec2Settings

CONTRACT = {
    "region": "us-east-1",
    "endpoint_url": "",
    "default_ami": "",
    "instance_type": "t3.medium",
    "instance_types": [],
    "subnet_id": "",
    "subnet_ids": [],
    "security_group_ids": [],
    "associate_public_ip": True,
    "connect_address": "public",
    "ssh_user": "ubuntu",
    "ssh_port": 22,
    "ssh_timeout_secs": 120,
    "key_pair_name": "",
    "iam_instance_profile": "",
    "root_volume_size_gb": 30,
    "root_volume_type": "gp3",
    "root_volume_iops": 0,
    "terminate_on_delete": True,
    "stop_on_pause": True,
    "hibernate_on_pause": False,
    "auto_resume": False,
    "instance_ready_timeout_secs": 180,
    "on_shutdown": "cleanup",
    "max_lifetime_secs": 0,
    "idle_timeout_secs": 0,
    "idle_action": "pause",
    "orphan_timeout_secs": 86400,
    "spot": False,
    "spot_max_price": "",
    "tags": {},
    "regions": {},
    "prices": {},
}


def test_keys_and_defaults_are_those_of_the_contract() -> None:
    assert Ec2Settings().model_dump() == CONTRACT


def test_every_key_is_described() -> None:
    described = {name: field.description for name, field in Ec2Settings.model_fields.items()}
    assert all(described.values()), described


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"regoin": "us-east-1"}, "regoin"),
        ({"region": "mars"}, "region"),
        ({"root_volume_type": "io2"}, 'root_volume_type = "io2" needs root_volume_iops'),
        ({"root_volume_type": "io1"}, "needs root_volume_iops"),
        ({"root_volume_type": "gp2", "root_volume_iops": 3000}, "cannot be set"),
        ({"root_volume_type": "gp3", "root_volume_iops": 100}, "from 3000 to"),
        ({"root_volume_type": "io2", "root_volume_iops": 1000, "root_volume_size_gb": 3}, "from 4 to"),
        ({"root_volume_size_gb": 0}, "root_volume_size_gb"),
        ({"hibernate_on_pause": True, "stop_on_pause": False}, "hibernate_on_pause = true needs"),
        ({"associate_public_ip": False}, 'connect_address = "public" needs associate_public_ip = true'),
        ({"connect_address": "sideways"}, "connect_address"),
        ({"ssh_port": 70000}, "ssh_port"),
        ({"ssh_user": "root; rm"}, "ssh_user"),
        ({"subnet_id": "vpc-123"}, "subnet_id"),
        ({"security_group_ids": ["default"]}, "security_group_ids"),
        ({"endpoint_url": "ftp://x"}, "endpoint_url"),
        ({"spot_max_price": "cheap"}, "dollars an hour"),
        ({"spot_max_price": "0"}, "dollars an hour"),
        ({"idle_action": "sleep"}, "idle_action"),
        ({"prices": {"t3.medium": -1}}, "prices"),
        ({"tags": {"AWS:thing": "x"}}, "AWS:thing"),
        ({"tags": {"ciab-managed": "false"}}, "ciab-managed"),
        ({"tags": {f"t{n}": "" for n in range(51)}}, "51 tags"),
        ({"regions": {"eu-west-1": {"instance_type": "t3.large"}}}, "instance_type"),
        ({"regions": {"Europe": {}}}, "regions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Ec2Settings.model_validate(given)
    assert words in str(caught.value)


def test_the_default_port_depends_on_the_backend_and_a_given_one_does_not() -> None:
    assert Ec2Settings().port("ec2") == 22
    assert Ec2Settings().port("local") == 2222
    assert Ec2Settings(ssh_port=22).port("local") == 22
    assert Ec2Settings(ssh_port=2022).port("ec2") == 2022


def test_what_belongs_to_a_region_stays_there() -> None:
    settings = Ec2Settings.model_validate(
        {
            "region": "us-east-1",
            "default_ami": "ami-1",
            "subnet_id": "subnet-1",
            "security_group_ids": ["sg-1"],
            "regions": {"eu-west-1": {"subnet_id": "subnet-2"}, "us-east-1": {"default_ami": "ami-3"}},
        }
    )
    assert settings.within("eu-west-1").model_dump() == {
        "default_ami": "",
        "subnet_id": "subnet-2",
        "security_group_ids": [],
    }
    assert settings.within("ap-south-1").model_dump() == {
        "default_ami": "",
        "subnet_id": "",
        "security_group_ids": [],
    }
    assert settings.within("us-east-1").model_dump() == {
        "default_ami": "ami-3",
        "subnet_id": "subnet-1",
        "security_group_ids": ["sg-1"],
    }
