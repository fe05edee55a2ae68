"""SandboxInfo: a sandbox as the API shows it."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel

from ciab.core.machine import Machine
from ciab.core.sandbox import Failure as CoreFailure
from ciab.core.sandbox import Held, Sandbox
from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.spec import SandboxSpec
from ciab.schema.values import STRICT, Name, as_text

_HOLDING = frozenset({State.PAUSING, State.PAUSED})


class Failure(BaseModel):
    """Why a sandbox failed, or why its last start did."""

    step: str | None = None
    code: str
    message: str
    hint: str | None = None
    console: str | None = None
    """The last lines of the machine's console; null where no machine was made, or it came up."""
    cloud_init: str | None = None
    """The last lines of cloud-init's log; null where the machine let nobody in."""

    @classmethod
    def from_core(cls, failure: CoreFailure) -> Self:
        """The recorded reason."""
        return cls(
            step=failure.step,
            code=failure.code,
            message=as_text(failure.message),
            hint=failure.hint and as_text(failure.hint),
            console=failure.console and as_text(failure.console),
            cloud_init=failure.cloud_init and as_text(failure.cloud_init),
        )


class Cost(BaseModel):
    """What a sandbox has cost so far, and costs an hour as it is now; null where no price is known."""

    usd: float | None
    usd_hour: float | None
    currency: Literal["USD"] = "USD"


class Instance(BaseModel):
    """The sandbox's EC2 instance as last seen."""

    id: str
    type: str
    region: str
    az: str
    image: str
    public_ip: str | None = None
    private_ip: str | None = None
    launched_at: datetime
    spot: bool = False
    """AWS may take it back, and it cannot be stopped."""

    @classmethod
    def from_core(cls, machine: Machine) -> Self:
        """What the runtime calls a machine is an instance on the wire."""
        return cls(
            id=machine.id,
            type=machine.type,
            region=machine.region,
            az=machine.zone,
            image=machine.image,
            public_ip=machine.public_ip,
            private_ip=machine.private_ip,
            launched_at=machine.launched_at,
            spot=machine.spot,
        )


class SandboxInfo(BaseModel):
    """A sandbox. Times are RFC 3339 UTC; secrets of the spec are shown as `***`."""

    id: str
    name: str
    state: State
    persistence: Persistence
    agent_provider: str
    endpoint_url: str | None = None
    """`ssh://user@host:port`; null while the machine has no address."""
    labels: dict[str, str]
    created_at: datetime
    updated_at: datetime
    spec: SandboxSpec
    failure: Failure | None = None
    instance: Instance | None = None
    reason: str | None = None
    """Why it went into its state, when nobody asked for that: idle, over budget, its lifetime."""
    held: Held | None = None
    """How a paused sandbox is held; null in other states."""
    recovered_from: str | None = None
    """The id of the sandbox from whose spec it was made again."""
    expires_at: datetime | None = None
    """When its lifetime ends; null: never."""
    cost: Cost | None = None
    """Null where nothing is known of it."""

    @classmethod
    def from_core(
        cls, sandbox: Sandbox, cost: Cost | None = None, expires_at: datetime | None = None
    ) -> Self:
        """As it is now; `expires_at` by people's clocks, not by the one that the sandbox counts on."""
        return cls(
            id=sandbox.id,
            name=sandbox.name,
            state=sandbox.state,
            persistence=sandbox.spec.persistence,
            agent_provider=sandbox.spec.agent_provider,
            endpoint_url=_endpoint(sandbox),
            labels=dict(sandbox.spec.labels),
            created_at=sandbox.created_at,
            updated_at=sandbox.updated_at,
            spec=SandboxSpec.from_core(sandbox.name, sandbox.spec),
            failure=Failure.from_core(sandbox.failure) if sandbox.failure else None,
            instance=Instance.from_core(sandbox.machine) if sandbox.machine else None,
            reason=sandbox.reason,
            held=sandbox.held if sandbox.state in _HOLDING else None,
            recovered_from=sandbox.recovered_from,
            expires_at=expires_at if sandbox.live else None,
            cost=cost,
        )


class RecoverRequest(BaseModel):
    """How the new sandbox shall differ from the one that it is made from."""

    model_config = STRICT

    name: Name | None = None
    """None: the name of the lost one."""


def _endpoint(sandbox: Sandbox) -> str | None:
    if sandbox.machine is None or sandbox.site is None or not sandbox.live:
        return None
    login = sandbox.site.login
    host = sandbox.machine.public_ip if login.address == "public" else sandbox.machine.private_ip
    return f"ssh://{login.user}@{host}:{login.port}" if host else None
