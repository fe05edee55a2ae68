"""How a check of EC2 is made: its name, its time limit, its errors as findings."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, TypeVar

from botocore.exceptions import ClientError

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import PERMISSION, code_of
from ciab.adapters.ec2.settings import Backend, Ec2Settings
from ciab.core.errors import CiabError
from ciab.core.finding import Finding
from ciab.core.machine import Place

CHECK_SECS = 20.0
"""How long one check may take, what it waits for apart."""

Value_co = TypeVar("Value_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every check works with."""

    clients: Clients
    settings: Ec2Settings
    backend: Backend
    place: Place

    @property
    def region(self) -> str:
        """The default region."""
        return self.place.region


@dataclass(frozen=True, slots=True)
class Answer(Generic[Value_co]):
    """What a check found, and what checks that depend on it go on with: None when they cannot."""

    finding: Finding
    value: Value_co | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A check's name, and what is tried in it."""

    name: str
    tried: str

    def ok(self, message: str) -> Finding:
        """All is well."""
        return Finding(self.name, "ok", self.tried, message)

    def warning(self, message: str, hint: str | None = None) -> Finding:
        """It may be meant so, or could not be told."""
        return Finding(self.name, "warning", self.tried, message, hint)

    def error(self, message: str, hint: str | None = None) -> Finding:
        """Sandboxes will fail."""
        return Finding(self.name, "error", self.tried, message, hint)

    def skipped(self, message: str, hint: str | None = None) -> Finding:
        """It could not be looked at."""
        return Finding(self.name, "skipped", self.tried, message, hint)

    async def made(self, look: Awaitable[Answer[Value_co]]) -> Answer[Value_co]:
        """What `look` finds; what it raises is the finding. A missing permission to look is no fault of
        what was to be looked at."""
        try:
            async with asyncio.timeout(CHECK_SECS):
                return await look
        except TimeoutError:
            return Answer(
                self.error(
                    f"no answer within {CHECK_SECS:g} s",
                    "check the network, the region's name and endpoint_url",
                )
            )
        except KeyError as error:
            told = f"the answer lacks {error}"
            return Answer(self.error(told, "an endpoint_url must answer as EC2 does"))
        except CiabError as error:
            if forbidden(error):
                return Answer(self.skipped(error.message, error.hint))
            return Answer(self.error(error.message, error.hint))

    def depends(self, *needed: Answer[object]) -> Finding | None:
        """Why it cannot be made: one of these answers is missing."""
        missing = [answer.finding.check for answer in needed if answer.value is None]
        return self.skipped(f"it depends on: {', '.join(missing)}") if missing else None


def forbidden(error: CiabError) -> bool:
    """Whether the provider knows us and does not let us ask."""
    return isinstance(error.__cause__, ClientError) and code_of(error.__cause__) in PERMISSION
