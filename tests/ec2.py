"""The EC2 adapter against a local region: what to order, and what the region then holds."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import asyncssh

from ciab.adapters.ec2.connect import Ec2, connect_ec2
from ciab.adapters.ec2.settings import Backend, Ec2Settings
from ciab.core.ids import OwnerId, SandboxId
from ciab.core.machine import KeyPair, LaunchAttempt, LaunchOrder, Machine, MachineImage, SandboxKeys, Site
from ciab.core.secret import Secret
from ciab.core.spec import Spec
from ciab.testing.store import MemoryAttempts
from tests.region import REGION, RunningRegion

OWNER = OwnerId("6b1d6f0e-5a7c-4d55-9a5f-0a51d0c0ffee")
SPEC = Spec("command")


def key_pair() -> KeyPair:
    key = asyncssh.generate_private_key("ssh-ed25519")
    return KeyPair(key.export_public_key().decode(), Secret(key.export_private_key().decode()))


def keys() -> SandboxKeys:
    return SandboxKeys(key_pair(), key_pair())


def an_order(site: Site, image: MachineImage, spec: Spec = SPEC, name: str = "box") -> LaunchOrder:
    """An order of a sandbox that no other test has."""
    made = keys()
    public = made.user.public if made.user else ""
    return LaunchOrder(SandboxId(str(uuid.uuid4())), name, spec, site, image, made, public)


class Clock:
    """The time of day, moved by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class DyingAttempts(MemoryAttempts):
    """A database whose server dies just before it could write the outcome, so often."""

    def __init__(self, deaths: int) -> None:
        super().__init__()
        self.deaths = deaths

    async def settle(self, attempt: LaunchAttempt, *told: Any, **more: Any) -> None:
        if self.deaths:
            self.deaths -= 1
            raise ConnectionResetError("the server died here")
        await super().settle(attempt, *told, **more)


@dataclass
class Account:
    """One installation's way into the region."""

    here: RunningRegion
    ec2: Ec2
    clock: Clock
    attempts: MemoryAttempts = field(default_factory=MemoryAttempts)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    clients: dict[str, Any] = field(default_factory=dict)

    async def client(self, region: str = REGION) -> Any:
        """Another way to look at EC2 than the adapter's own; kept, because making one takes its time."""
        if region not in self.clients:
            self.clients[region] = await self.stack.enter_async_context(self.here.client("ec2", region))
        return self.clients[region]

    async def order(self, spec: Spec = SPEC, name: str = "box") -> LaunchOrder:
        site = self.ec2.site_of(spec)
        return an_order(site, await self.ec2.images.choose(spec, site.place), spec, name)

    async def launch(self, spec: Spec = SPEC, name: str = "box") -> Machine:
        return await self.ec2.machines.launch(await self.order(spec, name), self.attempts)

    async def instance(self, machine: Machine) -> dict[str, Any]:
        """What EC2 says of it, once everything is visible."""
        async with self.here.client("ec2", machine.region) as client:
            while True:
                found = await client.describe_instances(
                    Filters=[{"Name": "instance-id", "Values": [machine.id]}]
                )
                for reservation in found["Reservations"]:
                    return dict(reservation["Instances"][0])

    async def instances(
        self, sandbox_id: str | None = None, region: str = "us-east-1"
    ) -> list[dict[str, Any]]:
        """Billable instances, asked for without our tags' help unless a sandbox is named."""
        states = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
        found = await (await self.client(region)).describe_instances(Filters=[states])
        listed = [instance for reservation in found["Reservations"] for instance in reservation["Instances"]]
        return [
            instance
            for instance in listed
            if sandbox_id is None or tags(instance["Tags"]).get("ciab-sandbox-id") == sandbox_id
        ]

    async def requests(self, action: str = "RunInstances") -> list[dict[str, Any]]:
        """The calls of one action as the region got them, oldest first."""
        return [call for call in (await self.here.calls())["last"] if call["action"] == action]

    async def attempt(self, order: LaunchOrder) -> LaunchAttempt:
        """Its only one."""
        (attempt,) = await self.attempts.past(order.sandbox_id)
        return attempt

    async def clean(self) -> None:
        """End all that was launched here."""
        for past in list(self.attempts.all.values()):
            for attempt in past.values():
                await self.ec2.machines.terminate(attempt.sandbox_id, attempt.place, self.attempts)


class Configured(Protocol):
    """Opens an installation with these settings, and ends all that was launched there."""

    def __call__(self, **settings: Any) -> AbstractAsyncContextManager[Account]: ...


@asynccontextmanager
async def account(
    here: RunningRegion, *, backend: Backend = "local", owner: OwnerId = OWNER, **settings: Any
) -> AsyncIterator[Account]:
    """An installation with these settings."""
    clock = Clock()
    async with connect_ec2(
        Ec2Settings.model_validate(settings),
        backend=backend,
        owner=owner,
        endpoint_url=here.endpoint,
        endpoint_name="a local region",
        now=clock,
        poll_interval=0.02,
    ) as ec2:
        made = Account(here, ec2, clock)
        async with made.stack:
            yield made


def tags(listed: list[dict[str, str]]) -> dict[str, str]:
    """EC2's list of tags as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in listed}


def wanting(**overrides: Any) -> Spec:
    """A spec with these EC2 overrides."""
    return replace(SPEC, ec2=replace(SPEC.ec2, **overrides))
