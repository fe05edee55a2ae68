"""What sandboxes cost."""

from fastapi import APIRouter, Response

from ciab.control.costs import Report
from ciab.schema.costs import Budgets, CostReport, SandboxCost
from ciab.server.replies import REFUSALS, reply
from ciab.server.services import Serving
from ciab.server.showing import shown_cost

router = APIRouter(prefix="/api/v1/costs", tags=["costs"], responses=REFUSALS)


@router.get("", response_model=CostReport)
async def get_costs(services: Serving) -> Response:
    """What each sandbox costs, all of them today, and each workspace; and the budgets."""
    return reply(_shown(await services.costs.report()))


def _shown(report: Report) -> CostReport:
    budgets = report.budgets
    return CostReport(
        at=report.at,
        today_usd=report.today_usd,
        sandboxes=[
            SandboxCost(
                id=one.sandbox.id,
                name=one.sandbox.name,
                state=one.sandbox.state,
                workspace=one.sandbox.spec.workspace,
                cost=shown_cost(one),
            )
            for one in report.sandboxes
        ],
        workspaces=dict(report.workspaces),
        budgets=Budgets(
            per_sandbox=budgets.per_sandbox,
            per_workspace=budgets.per_workspace,
            per_day=budgets.per_day,
        ),
    )
