"""Where machines are launched: subnets and their room, security groups and whom they let in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ciab.adapters.ec2.doctor.checks import Answer, Check, Desk
from ciab.adapters.ec2.errors import translated
from ciab.core.finding import Finding

Found = Mapping[str, Any]
"""A Subnet or SecurityGroup as EC2 describes it."""

_WORLD = frozenset({"0.0.0.0/0", "::/0"})


async def subnets(desk: Desk, region: str, name: str) -> Answer[Sequence[Found]]:
    """Whether the configured subnets, or the region's default ones, exist and have room."""
    further = desk.settings.subnet_ids if region == desk.settings.region else []
    own = desk.settings.within(region).subnet_id
    named = list(dict.fromkeys(one for one in [own, *further] if one))
    check = Check(name, f"DescribeSubnets {', '.join(named) or 'that are default ones'} in {region}")

    async def look() -> Answer[Sequence[Found]]:
        asked: dict[str, Any] = {"SubnetIds": named}
        if not named:
            asked = {"Filters": [_filter("default-for-az", "true")]}
        with translated(f"look up {', '.join(named) or 'the default subnets'} in {region}"):
            found = (await desk.clients.ec2(region, "DescribeSubnets", **asked))["Subnets"]
        if not found:
            return Answer(check.error(f"{region} has no default subnet", "set subnet_id"))
        return Answer(_room(check, found, desk, one_by_one=bool(named)), found)

    return await check.made(look())


def _room(check: Check, found: Sequence[Found], desk: Desk, *, one_by_one: bool) -> Finding:
    full = [one["SubnetId"] for one in found if not one["AvailableIpAddressCount"]]
    free = sum(int(one["AvailableIpAddressCount"]) for one in found)
    told = f"{len(found)} in {found[0]['VpcId']} with {free} addresses free"
    if one_by_one:
        told = ", ".join(
            f"{one['SubnetId']} in {one['AvailabilityZone']}, {one['AvailableIpAddressCount']} addresses free"
            for one in found
        )
    if len(full) == len(found):
        return check.error(f"no free addresses: {told}", "name another subnet in subnet_ids")
    if full:
        return check.warning(f"no free addresses in {', '.join(full)}: {told}")
    public = "machines ask for a public address" if desk.settings.associate_public_ip else "no public address"
    return check.ok(f"{told}; {public}")


async def groups(
    desk: Desk, region: str, subnets: Answer[Sequence[Found]], name: str
) -> Answer[Sequence[Found]]:
    """Whether the security groups exist, fit the subnet, and let somebody in on the SSH port."""
    named = list(desk.settings.within(region).security_group_ids)
    check = Check(name, f"DescribeSecurityGroups {', '.join(named) or 'default'} in {region}")
    if not named and (missing := check.depends(subnets)):
        return Answer(missing)

    async def look() -> Answer[Sequence[Found]]:
        vpcs = {str(one["VpcId"]) for one in subnets.value or ()}
        asked: dict[str, Any] = {"GroupIds": named}
        if not named:
            asked = {"Filters": [_filter("group-name", "default"), _filter("vpc-id", *sorted(vpcs))]}
        with translated(f"look up the security groups {', '.join(named) or 'named default'} in {region}"):
            found = (await desk.clients.ec2(region, "DescribeSecurityGroups", **asked))["SecurityGroups"]
        if not found:
            return Answer(check.error("the VPC has no default security group", "set security_group_ids"))
        elsewhere = [one for one in found if vpcs and {str(one["VpcId"])} != vpcs]
        if named and elsewhere:
            belongs = ", ".join(f"{one['GroupId']} belongs to {one['VpcId']}" for one in elsewhere)
            said = f"{belongs}, the subnets to {', '.join(sorted(vpcs))}"
            return Answer(check.error(said, "choose groups and subnets of one VPC"))
        return Answer(_entrance(check, found, desk), found)

    return await check.made(look())


def _entrance(check: Check, found: Sequence[Found], desk: Desk) -> Finding:
    names = ", ".join(f"{one['GroupId']} ({one['GroupName']})" for one in found)
    if desk.backend == "local":
        return check.ok(f"{names}; the local region lets everybody on this machine in")
    port = desk.settings.port(desk.backend)
    private = desk.settings.connect_address == "private"
    sources = sorted({source for group in found for source in let_in(group, port, groups=private)})
    if not sources:
        return check.warning(
            f"no rule of {names} lets anybody in on TCP port {port}: the server cannot reach its machines",
            f"allow its address: aws ec2 authorize-security-group-ingress --region {check.tried.split()[-1]} "
            f"--group-id {found[0]['GroupId']} --protocol tcp --port {port} --cidr ADDRESS/32",
        )
    told = f"{names} let {', '.join(sources)} in on TCP port {port}"
    if _WORLD & set(sources) and desk.settings.associate_public_ip:
        return check.warning(f"{told}: that is the whole internet", "let only the server's address in")
    return check.ok(f"{told}; the server must be among them")


def let_in(group: Found, port: int, *, groups: bool) -> Iterator[str]:
    """Whom the group's rules let in on a TCP port; `groups`: members of other groups too, which reach only
    private addresses."""
    for rule in group.get("IpPermissions", ()):
        everything = rule["IpProtocol"] == "-1"
        tcp = rule["IpProtocol"] in {"tcp", "6"} and rule.get("FromPort", 0) <= port <= rule.get(
            "ToPort", 65_535
        )
        if not everything and not tcp:
            continue
        yield from (one["CidrIp"] for one in rule.get("IpRanges", ()))
        yield from (one["CidrIpv6"] for one in rule.get("Ipv6Ranges", ()))
        yield from (one["PrefixListId"] for one in rule.get("PrefixListIds", ()))
        if groups:
            yield from (one["GroupId"] for one in rule.get("UserIdGroupPairs", ()))


def _filter(name: str, *values: str) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}
