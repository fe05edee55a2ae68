"""`ciab sandbox list` and `get`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output, pairs
from ciab.cli.command import Invocation, command
from ciab.cli.sandbox.app import SandboxRef, app
from ciab.core.states import State

if TYPE_CHECKING:
    from ciab.schema.sandboxes import SandboxInfo

PAGE = 100


@command(app, "list")
async def list_sandboxes(
    invocation: Invocation,
    state: Annotated[State | None, typer.Option("--state")] = None,
    provider: Annotated[str | None, typer.Option("--provider")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V")] = None,
) -> None:
    """List sandboxes, the newest first."""
    found: list[SandboxInfo] = []
    wanted = pairs.labels(label or [])
    async with invocation.client() as client:
        while True:
            page = await client.list_sandboxes(
                state=state,
                provider=provider,
                labels=wanted,
                limit=PAGE,
                cursor=found[-1].id if found else None,
            )
            found += page
            if len(page) < PAGE:
                break
    if invocation.json:
        output.show_json(found)
    else:
        output.show_table(
            ("NAME", "ID", "STATE", "PROVIDER", "CREATED", "ENDPOINT"), [_row(info) for info in found]
        )


@command(app, "get")
async def get(invocation: Invocation, sandbox: SandboxRef) -> None:
    """Show one sandbox."""
    async with invocation.client() as client:
        info = await client.get_sandbox(sandbox)
    if invocation.json:
        output.show_json(info)
    else:
        output.show_fields(_fields(info))


def _row(info: "SandboxInfo") -> tuple[str, ...]:
    return (
        info.name,
        info.id,
        str(info.state),
        info.agent_provider,
        f"{info.created_at:%Y-%m-%dT%H:%M:%SZ}",
        info.endpoint_url or "-",
    )


def _fields(info: "SandboxInfo") -> dict[str, str]:
    fields = {
        "name": info.name,
        "id": info.id,
        "state": str(info.state),
        "provider": info.agent_provider,
        "persistence": str(info.persistence),
        "created": f"{info.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "updated": f"{info.updated_at:%Y-%m-%dT%H:%M:%SZ}",
        "endpoint": info.endpoint_url or "-",
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(info.labels.items())) or "-",
    }
    if info.instance:
        instance = info.instance
        fields["instance"] = f"{instance.id}, {instance.type} in {instance.az}, from {instance.image}"
        fields["addresses"] = ", ".join(ip for ip in (instance.public_ip, instance.private_ip) if ip) or "-"
    if info.failure:
        failure = info.failure
        where = f"{failure.step}: " if failure.step else ""
        fields["failure"] = f"{where}{failure.message} [{failure.code}]"
        if failure.hint:
            fields["hint"] = failure.hint
    return fields
