"""The one way into this room: everything of EC2 that the server needs, opened and closed together."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from ciab.adapters.ec2.clients import Clients
from ciab.adapters.ec2.errors import translated
from ciab.adapters.ec2.images import Ec2Images
from ciab.adapters.ec2.launching import Launcher
from ciab.adapters.ec2.limits import Limits
from ciab.adapters.ec2.observer import INTERVAL, Observer
from ciab.adapters.ec2.prices import Ec2Prices
from ciab.adapters.ec2.remains import Ec2Remains
from ciab.adapters.ec2.request import check
from ciab.adapters.ec2.runtime import Ec2Machines
from ciab.adapters.ec2.settings import Backend, Ec2Settings
from ciab.core.errors import InvalidRequest
from ciab.core.ids import OwnerId
from ciab.core.machine import Login, Place, Site
from ciab.core.spec import Spec

LOCAL_ACCOUNT = "local"
"""The local region belongs to nobody else; its endpoint's name tells it from another one."""


@dataclass(frozen=True, slots=True)
class Ec2:
    """The ports, and what is decided once per sandbox."""

    machines: Ec2Machines
    images: Ec2Images
    remains: Ec2Remains
    prices: Ec2Prices
    home: Place
    """Backend, account and endpoint of this server; region is the default one."""
    settings: Ec2Settings
    backend: Backend

    @property
    def account(self) -> str:
        """The AWS account that the credentials belong to."""
        return self.home.account

    def site_of(self, spec: Spec) -> Site:
        """Where the sandbox's machine will be and how it is reached; kept although settings may change.

        Raises InvalidRequest for what could never be launched: a region that cannot be one, tags that EC2
        or CIAB does not allow, a persistent spot instance.
        """
        check(spec, self.settings)
        region = spec.ec2.region or self.settings.region
        if not re.fullmatch(r"[a-z]{2,}(-[a-z0-9]+)+", region):
            raise InvalidRequest(f"ec2.region: {region!r} is no region", hint='like "us-east-1"')
        home = self.home
        return Site(
            Place(home.backend, home.account, home.endpoint, region),
            Login(
                self.settings.ssh_user,
                self.settings.port(self.backend),
                self.settings.connect_address,
                self.settings.key_pair_name,
            ),
        )


@asynccontextmanager
async def connect_ec2(
    settings: Ec2Settings,
    *,
    backend: Backend,
    owner: OwnerId,
    endpoint_url: str | None = None,
    endpoint_name: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    poll_interval: float = INTERVAL,
) -> AsyncIterator[Ec2]:
    """Everything of EC2, while the context lasts.

    `endpoint_url` is where to call (the local region's address, which may change from start to start);
    `endpoint_name` is what launches record and what tells this endpoint from another. Both default to the
    configured `endpoint_url`; no URL means AWS. Raises RuntimeRejected when there are no usable
    credentials, RuntimeUnavailable when AWS cannot be asked whose they are.
    """
    url = settings.endpoint_url if endpoint_url is None else endpoint_url
    name = settings.endpoint_url if endpoint_name is None else endpoint_name
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(Clients(backend, url, Limits()))
        home = Place(backend, await _account(clients, backend, settings.region), name, settings.region)
        await stack.enter_async_context(clients.warmed(settings.region))
        observer = await stack.enter_async_context(Observer(clients, owner, poll_interval))
        launcher = Launcher(clients, settings, owner, now)
        yield Ec2(
            Ec2Machines(clients, observer, launcher, owner=owner, home=home, now=now),
            Ec2Images(clients, settings, now),
            Ec2Remains(clients),
            Ec2Prices(settings),
            home,
            settings,
            backend,
        )


async def check_account(settings: Ec2Settings, backend: Backend) -> None:
    """Whether there are usable credentials; raises as `connect_ec2` does."""
    async with Clients(backend, settings.endpoint_url, Limits()) as clients:
        await _account(clients, backend, settings.region)


async def _account(clients: Clients, backend: Backend, region: str) -> str:
    if backend == "local":
        return LOCAL_ACCOUNT
    with translated("ask AWS whose credentials these are"):
        return await clients.account(region)
