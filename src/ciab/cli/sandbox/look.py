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
            ("NAME", "ID", "STATE", "PROVIDER", "CREATED", "COST", "ENDPOINT"),
            [_row(info) for info in found],
        )


@command(app, "get")
async def get(invocation: Invocation, sandbox: SandboxRef) -> None:
    """Show one sandbox."""
    async with invocation.client() as client:
        info = await client.get_sandbox(sandbox)
    if invocation.json:
        output.show_json(info)
    else:
        describe(info)


def describe(info: "SandboxInfo") -> None:
    """All that a person may want to know of it, and what its machine itself said before it failed."""
    output.show_fields(_fields(info))
    if info.failure and info.failure.console:
        output.show_block("console", info.failure.console)
    if info.failure and info.failure.cloud_init:
        output.show_block("cloud-init", info.failure.cloud_init)


def _row(info: "SandboxInfo") -> tuple[str, ...]:
    return (
        info.name,
        info.id,
        str(info.state),
        info.agent_provider,
        output.time(info.created_at),
        output.dollars(info.cost.usd) if info.cost else "-",
        info.endpoint_url or "-",
    )


def _fields(info: "SandboxInfo") -> dict[str, str]:
    """Those that say something; the first ones always."""
    fields: dict[str, str | None] = {
        "name": info.name,
        "id": info.id,
        "state": str(info.state),
        "provider": info.agent_provider,
        "persistence": str(info.persistence),
        "created": output.time(info.created_at),
        "updated": output.time(info.updated_at),
        "endpoint": info.endpoint_url or "-",
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(info.labels.items())) or "-",
        "cost": _cost(info),
        "reason": info.reason,
        "held": str(info.held) if info.held else None,
        "expires": output.time(info.expires_at) if info.expires_at else None,
        "workspace": info.spec.workspace,
        "recovered from": info.recovered_from,
        **_instance(info),
        **_failure(info),
    }
    return {name: value for name, value in fields.items() if value}


def _cost(info: "SandboxInfo") -> str:
    cost = info.cost
    if cost is None:
        return "-"
    if cost.usd is None:
        return "no price is known for its type"
    now = f", {output.dollars(cost.usd_hour)} an hour" if cost.usd_hour else ""
    return output.dollars(cost.usd) + now


def _instance(info: "SandboxInfo") -> dict[str, str | None]:
    instance = info.instance
    if instance is None:
        return {}
    kind = f"{instance.type} spot" if instance.spot else instance.type
    return {
        "instance": f"{instance.id}, {kind} in {instance.az}, from {instance.image}",
        "addresses": ", ".join(ip for ip in (instance.public_ip, instance.private_ip) if ip) or "-",
    }


def _failure(info: "SandboxInfo") -> dict[str, str | None]:
    failure = info.failure
    if failure is None:
        return {}
    where = f"{failure.step}: " if failure.step else ""
    return {"failure": f"{where}{failure.message} [{failure.code}]", "hint": failure.hint}
