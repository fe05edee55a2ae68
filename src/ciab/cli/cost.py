"""`ciab cost`."""

from typing import TYPE_CHECKING

import typer

from ciab.cli import output
from ciab.cli.command import Invocation

if TYPE_CHECKING:
    from ciab.schema.costs import CostReport, SandboxCost


async def cost(invocation: Invocation) -> None:
    """Show what sandboxes cost, and the budgets."""
    async with invocation.client() as client:
        report = await client.get_costs()
    if invocation.json:
        output.show_json(report)
    else:
        describe(report)


def describe(report: "CostReport") -> None:
    """A line for each sandbox, and below them the sums."""
    output.show_table(
        ("NAME", "ID", "STATE", "COST", "AN HOUR", "WORKSPACE"), [_row(one) for one in report.sandboxes]
    )
    typer.echo()
    output.show_fields(_sums(report))
    unknown = sum(one.cost.usd is None for one in report.sandboxes)
    if unknown:
        output.say(f"no price is known for {unknown} of them, marked ?: set it in [runtime.ec2.prices]")


def _row(one: "SandboxCost") -> tuple[str, ...]:
    amounts = (output.dollars(one.cost.usd), output.dollars(one.cost.usd_hour))
    return (one.name, one.id, str(one.state), *amounts, one.workspace or "-")


def _sums(report: "CostReport") -> dict[str, str]:
    budgets = report.budgets
    hour = sum(one.cost.usd_hour or 0.0 for one in report.sandboxes)
    workspaces = {
        f"workspace {name}": _of(spent, budgets.per_workspace)
        for name, spent in sorted(report.workspaces.items())
    }
    most = {"most for a sandbox": output.dollars(budgets.per_sandbox)} if budgets.per_sandbox else {}
    return {
        "today (UTC)": _of(report.today_usd, budgets.per_day),
        "now": f"{output.dollars(hour)} an hour",
        **workspaces,
        **most,
    }


def _of(spent: float, budget: float) -> str:
    return f"{output.dollars(spent)} of {output.dollars(budget)}" if budget else output.dollars(spent)
