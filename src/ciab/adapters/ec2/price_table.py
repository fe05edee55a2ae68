"""What AWS asks for on-demand Linux instances and their disks in us-east-1, in dollars.

As AWS published them in January 2025, https://aws.amazon.com/ec2/pricing/on-demand/ and
https://aws.amazon.com/ebs/pricing/. Within a family the price goes with the size, so one number a family is
enough: that of its `large`. Families that are not here have no price, which the configuration can give.
"""

from collections.abc import Mapping

DATE = "2025-01"

_LARGE = {
    "t2": 0.0928,
    "t3": 0.0832,
    "t3a": 0.0752,
    "t4g": 0.0672,
    "m5": 0.096,
    "m5a": 0.086,
    "m6a": 0.0864,
    "m6g": 0.077,
    "m6i": 0.096,
    "m7a": 0.11592,
    "m7g": 0.0816,
    "m7i": 0.1008,
    "m7i-flex": 0.09576,
    "c5": 0.085,
    "c5a": 0.077,
    "c6a": 0.0765,
    "c6g": 0.068,
    "c6i": 0.085,
    "c7a": 0.10264,
    "c7g": 0.0725,
    "c7i": 0.08925,
    "r5": 0.126,
    "r5a": 0.113,
    "r6a": 0.1134,
    "r6g": 0.1008,
    "r6i": 0.126,
    "r7g": 0.1071,
    "r7i": 0.1323,
}
_SIZES = {
    "nano": 1 / 16,
    "micro": 1 / 8,
    "small": 1 / 4,
    "medium": 1 / 2,
    "large": 1.0,
    "xlarge": 2.0,
    **{f"{size}xlarge": size * 2.0 for size in (2, 4, 8, 9, 12, 16, 18, 24, 32, 48)},
}

VOLUME_GIB_MONTH: Mapping[str, float] = {"gp2": 0.10, "gp3": 0.08, "io1": 0.125, "io2": 0.125}
IOPS_MONTH: Mapping[str, float] = {"gp3": 0.005, "io1": 0.065, "io2": 0.065}
"""Of each IOPS that is paid for. io2 has lower ones above 32,000, which are left out: rather too much."""
FREE_IOPS: Mapping[str, int] = {"gp3": 3_000}
ADDRESS_HOUR = 0.005
"""Of a public IPv4 address."""
HOURS_A_MONTH = 730
"""By which AWS turns prices a month into prices an hour."""


def on_demand(instance_type: str) -> float | None:
    """Dollars an hour; None for a family or a size that is not known here."""
    family, _, size = instance_type.partition(".")
    large, times = _LARGE.get(family), _SIZES.get(size)
    return None if large is None or times is None else large * times
