"""Sandboxes: create, look, move, recover and delete. Only intent is recorded; nobody waits here."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from ciab.core import ports
from ciab.core.errors import InvalidRequest
from ciab.core.ids import SandboxId
from ciab.core.sandbox import Sandbox
from ciab.core.states import State
from ciab.schema.sandboxes import RecoverRequest, SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.schema.values import REVEAL
from ciab.server.replies import REFUSALS, reply, reply_list
from ciab.server.services import Services, Serving
from ciab.server.showing import shown, shown_all

router = APIRouter(prefix="/api/v1/sandboxes", tags=["sandboxes"], responses=REFUSALS)

IdempotencyKey = Annotated[str | None, Header()]

RELEASED = "X-CIAB-Released-Instance"
NOTICE = "X-CIAB-Notice"

_MAX_KEY = 255


@router.post("", status_code=202, response_model=SandboxInfo)
async def create_sandbox(
    spec: SandboxSpec, services: Serving, idempotency_key: IdempotencyKey = None
) -> Response:
    """Record a new sandbox. The same Idempotency-Key with the same body gives the same sandbox again."""
    once = _once(idempotency_key, spec.model_dump_json(context=REVEAL), services)
    sandbox = await services.sandboxes.create(spec.to_core(), spec.name, once)
    return reply(await shown(sandbox, services), 202)


@router.get("", response_model=list[SandboxInfo])
async def list_sandboxes(
    *,
    request: Request,
    services: Serving,
    state: Annotated[list[State] | None, Query()] = None,
    provider: str | None = None,
    labels: Annotated[str | None, Query(description="k=v,k2=v2: all of them")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str | None = None,
) -> Response:
    """Newest first. When there are more, X-Next-Cursor has the cursor of the next page, Link its address."""
    query = ports.Query(
        states=frozenset(state) if state else None,
        provider=provider,
        labels=_labels(labels),
        limit=limit + 1,
        cursor=SandboxId(cursor) if cursor else None,
    )
    found = await services.store.page(query)
    page = found[:limit]
    headers = {}
    if len(found) > limit:
        following = request.url.include_query_params(cursor=page[-1].id)
        headers = {
            "X-Next-Cursor": page[-1].id,
            "Link": f'<{following.path}?{following.query}>; rel="next"',
        }
    return reply_list(await shown_all(page, services), headers)


@router.get("/{reference}", response_model=SandboxInfo)
async def get_sandbox(reference: str, services: Serving) -> Response:
    """By id, unique prefix of an id, or name."""
    return reply(await shown(await services.store.lookup(reference), services))


@router.delete(
    "/{reference}",
    status_code=204,
    responses={
        204: {
            "headers": {
                RELEASED: {
                    "schema": {"type": "string"},
                    "description": "The instance that is stopped and left to its user, if it is",
                },
                NOTICE: {"schema": {"type": "string"}, "description": "The same as a sentence"},
            }
        }
    },
)
async def delete_sandbox(reference: str, services: Serving) -> Response:
    """Record that it is to end. Repeating it is no error."""
    sandbox = await services.sandboxes.delete(reference)
    return Response(status_code=204, headers=_released(sandbox))


@router.post("/{reference}/start", response_model=SandboxInfo)
async def start_sandbox(reference: str, services: Serving) -> Response:
    """Boot a stopped sandbox again."""
    return reply(await shown(await services.sandboxes.start(reference), services))


@router.post("/{reference}/stop", response_model=SandboxInfo)
async def stop_sandbox(reference: str, services: Serving) -> Response:
    """Shut a running or paused sandbox down and keep its disk."""
    return reply(await shown(await services.sandboxes.stop(reference), services))


@router.post("/{reference}/pause", response_model=SandboxInfo)
async def pause_sandbox(reference: str, services: Serving) -> Response:
    """Stop, hibernate or freeze a running sandbox, as the server is configured."""
    return reply(await shown(await services.sandboxes.pause(reference), services))


@router.post("/{reference}/resume", response_model=SandboxInfo)
async def resume_sandbox(reference: str, services: Serving) -> Response:
    """Let a paused sandbox run again. If that fails it is paused or stopped, and its failure says why."""
    return reply(await shown(await services.sandboxes.resume(reference), services))


@router.post("/{reference}/recover", status_code=202, response_model=SandboxInfo)
async def recover_sandbox(
    reference: str,
    services: Serving,
    body: RecoverRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Record a new sandbox with the spec of one that has ended.

    The same Idempotency-Key with the same reference and body gives the same sandbox again; name the lost
    one by its id then: its name may be the new one's by now.
    """
    wish = body or RecoverRequest()
    once = _once(idempotency_key, f"recover {reference} {wish.model_dump_json()}", services)
    return reply(await shown(await services.sandboxes.recover(reference, wish.name, once), services), 202)


def _once(key: str | None, request: str, services: Services) -> ports.Once | None:
    if key is None:
        return None
    if not key or len(key) > _MAX_KEY or not key.isprintable():
        raise InvalidRequest(f"an Idempotency-Key has 1 to {_MAX_KEY} printable characters")
    return ports.Once(key, services.digest(request.encode()))


def _released(sandbox: Sandbox) -> dict[str, str]:
    """Headers that name a machine that is left to its user."""
    machine, site = sandbox.machine, sandbox.site
    if not sandbox.release or machine is None or site is None:
        return {}
    key = "its login is still your key pair" if site.login.key_pair else "its SSH key is gone"
    notice = f"instance {machine.id} is stopped and left to you in {machine.region}; {key}"
    return {RELEASED: machine.id, NOTICE: notice}


def _labels(text: str | None) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in (text or "").split(","):
        key, equals, value = pair.partition("=")
        if pair and not (key and equals):
            raise InvalidRequest("labels are given as k=v,k2=v2")
        if pair:
            labels[key] = value
    return labels
