"""Every page of a describe, asked for by filter: one id that does not exist would fail a call by ids."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from ciab.adapters.ec2.clients import Clients

Filters = Mapping[str, list[str]]
"""Name to values, as EC2 has them."""

PAGE = 200
"""Things an answer holds: parsing larger ones takes long, and each page costs a call."""


async def pages(
    clients: Clients, region: str, action: str, filters: Filters
) -> AsyncIterator[Mapping[str, Any]]:
    """The answers one after another. Raises what `errors.FOREIGN` lists."""
    asked: dict[str, Any] = {
        "Filters": [{"Name": name, "Values": values} for name, values in filters.items()],
        "MaxResults": PAGE,
    }
    while True:
        answer = await clients.ec2(region, action, **asked)
        yield answer
        if not answer.get("NextToken"):
            return
        asked["NextToken"] = answer["NextToken"]
