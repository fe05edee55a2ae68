"""Whether EC2 will do what the configuration asks of it, found out by asking and by dry runs: it changes
nothing."""

from ciab.adapters.ec2.doctor.examining import EC2_CHECKS, examine_ec2
from ciab.adapters.ec2.doctor.launching import NamedPair

__all__ = ["EC2_CHECKS", "NamedPair", "examine_ec2"]
