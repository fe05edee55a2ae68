"""The sweep that a user asks for: what nobody owns any more ends."""

from fastapi import APIRouter, Response

from ciab.control import reaper as control
from ciab.core.ids import OwnerId
from ciab.schema.reaper import GcRequest, Verdict
from ciab.server.replies import REFUSALS, reply_list
from ciab.server.services import Serving

router = APIRouter(prefix="/api/v1/gc", tags=["gc"], responses=REFUSALS)


@router.post("", response_model=list[Verdict])
async def collect_garbage(services: Serving, body: GcRequest | None = None) -> Response:
    """End the machines, volumes and network interfaces of this installation's, or of a lost one's, that no
    live sandbox owns, those of sandboxes unknown to this database included."""
    wish = body or GcRequest()
    owner = OwnerId(str(wish.owner)) if wish.owner else None
    verdicts = await services.reaper.collect(dry_run=wish.dry_run, owner=owner)
    return reply_list([_shown(verdict) for verdict in verdicts])


def _shown(verdict: control.Verdict) -> Verdict:
    remain = verdict.remain
    return Verdict(
        action=verdict.action,
        reason=verdict.reason,
        kind=remain.kind,
        id=remain.id,
        region=remain.region,
        sandbox_id=remain.sandbox_id,
        build_id=remain.build_id,
        state=remain.state,
        born_at=remain.born_at,
    )
