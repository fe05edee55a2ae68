"""SandboxInfo: a sandbox as the API shows it."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel

from ciab.core.machine import Machine
from ciab.core.sandbox import Failure as CoreFailure
from ciab.core.sandbox import Sandbox
from ciab.core.spec import Persistence
from ciab.core.states import State
from ciab.schema.spec import SandboxSpec


class Failure(BaseModel):
    """Why a sandbox failed, or why its last start did."""

    step: str | None = None
    code: str
    message: str
    hint: str | None = None

    @classmethod
    def from_core(cls, failure: CoreFailure) -> Self:
        """The recorded reason."""
        return cls(step=failure.step, code=failure.code, message=failure.message, hint=failure.hint)


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

    @classmethod
    def from_core(cls, sandbox: Sandbox) -> Self:
        """As it is now."""
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
        )


def _endpoint(sandbox: Sandbox) -> str | None:
    if sandbox.machine is None or sandbox.site is None or not sandbox.live:
        return None
    login = sandbox.site.login
    host = sandbox.machine.public_ip if login.address == "public" else sandbox.machine.private_ip
    return f"ssh://{login.user}@{host}:{login.port}" if host else None
