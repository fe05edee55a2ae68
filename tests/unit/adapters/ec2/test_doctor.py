"""What `ciab doctor` makes of EC2's answers."""

from typing import Any

import pytest

from ciab.adapters.ec2.doctor.kinds import quota_of
from ciab.adapters.ec2.doctor.network import let_in


def a_group(**rule: Any) -> dict[str, Any]:
    return {"GroupId": "sg-1", "IpPermissions": [rule]}


def a_rule(protocol: str, first: int, last: int, *sources: str) -> dict[str, Any]:
    ranges = [{"CidrIp": source} for source in sources]
    return {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "IpRanges": ranges}


@pytest.mark.parametrize(
    ("rule", "port", "expected"),
    [
        (a_rule("tcp", 22, 22, "10.0.0.0/8"), 22, ["10.0.0.0/8"]),
        (a_rule("tcp", 0, 65535, "10.0.0.0/8"), 2222, ["10.0.0.0/8"]),
        (a_rule("6", 22, 22, "10.0.0.0/8"), 22, ["10.0.0.0/8"]),
        (a_rule("tcp", 22, 22, "10.0.0.0/8"), 2222, []),
        (a_rule("udp", 22, 22, "10.0.0.0/8"), 22, []),
        (a_rule("tcp", 22, 22), 22, []),
        ({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}, 22, ["10.0.0.0/8"]),
        ({"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}, 22, ["::/0"]),
        ({"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}, 22, ["pl-1"]),
    ],
)
def test_who_is_let_in_on_a_port(rule: dict[str, Any], port: int, expected: list[str]) -> None:
    assert list(let_in(a_group(**rule), port, groups=False)) == expected


def test_members_of_a_group_reach_private_addresses_only() -> None:
    """The default group lets its own members in, and nobody else."""
    default = a_group(IpProtocol="-1", UserIdGroupPairs=[{"GroupId": "sg-1"}])
    assert list(let_in(default, 22, groups=True)) == ["sg-1"]
    assert list(let_in(default, 22, groups=False)) == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("t3.medium", "L-1216C47A"),
        ("m7i-flex.large", "L-1216C47A"),
        ("c7gn.xlarge", "L-1216C47A"),
        ("im4gn.large", "L-1216C47A"),
        ("hpc7a.12xlarge", "L-F7808C92"),
        ("inf2.xlarge", "L-1945791B"),
        ("trn1.2xlarge", "L-2C3B7624"),
        ("g5.xlarge", "L-DB2E81BA"),
        ("vt1.3xlarge", "L-DB2E81BA"),
        ("p5.48xlarge", "L-417A185B"),
        ("x2gd.medium", "L-7295265B"),
        ("mac2.metal", None),
        ("u-6tb1.metal", None),
    ],
)
def test_each_type_counts_against_the_quota_of_its_family(kind: str, code: str | None) -> None:
    assert quota_of(kind) == code
