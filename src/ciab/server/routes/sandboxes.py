"""Sandboxes: create, list, look, delete, start and stop. Only intent is recorded; nobody waits here."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from ciab.core import ports
from ciab.core.errors import InvalidRequest
from ciab.core.ids import SandboxId
from ciab.core.states import State
from ciab.schema.sandboxes import SandboxInfo
from ciab.schema.spec import SandboxSpec
from ciab.schema.values import REVEAL
from ciab.server.replies import REFUSALS, reply, reply_list
from ciab.server.services import Services, Serving

router = APIRouter(prefix="/api/v1/sandboxes", tags=["sandboxes"], responses=REFUSALS)

_MAX_KEY = 255


@router.post("", status_code=202, response_model=SandboxInfo)
async def create_sandbox(
    spec: SandboxSpec, services: Serving, idempotency_key: Annotated[str | None, Header()] = None
) -> Response:
    """Record a new sandbox. The same Idempotency-Key with the same body gives the same sandbox again."""
    once = None if idempotency_key is None else _once(idempotency_key, spec, services)
    sandbox = await services.sandboxes.create(spec.to_core(), spec.name, once)
    return reply(SandboxInfo.from_core(sandbox), 202)


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
    return reply_list([SandboxInfo.from_core(sandbox) for sandbox in page], headers)


@router.get("/{reference}", response_model=SandboxInfo)
async def get_sandbox(reference: str, services: Serving) -> Response:
    """By id, unique prefix of an id, or name."""
    return reply(SandboxInfo.from_core(await services.store.lookup(reference)))


@router.delete("/{reference}", status_code=204)
async def delete_sandbox(reference: str, services: Serving) -> Response:
    """Record that it is to end. Repeating it is no error."""
    await services.sandboxes.delete(reference)
    return Response(status_code=204)


@router.post("/{reference}/start", response_model=SandboxInfo)
async def start_sandbox(reference: str, services: Serving) -> Response:
    """Boot a stopped sandbox again."""
    return reply(SandboxInfo.from_core(await services.sandboxes.start(reference)))


@router.post("/{reference}/stop", response_model=SandboxInfo)
async def stop_sandbox(reference: str, services: Serving) -> Response:
    """Shut a running sandbox down and keep its disk."""
    return reply(SandboxInfo.from_core(await services.sandboxes.stop(reference)))


def _once(key: str, spec: SandboxSpec, services: Services) -> ports.Once:
    if not key or len(key) > _MAX_KEY or not key.isprintable():
        raise InvalidRequest(f"an Idempotency-Key has 1 to {_MAX_KEY} printable characters")
    return ports.Once(key, services.digest(spec.model_dump_json(context=REVEAL).encode()))


def _labels(text: str | None) -> dict[str, str]:
    labels: dict[str, str] = {}
    for pair in (text or "").split(","):
        key, equals, value = pair.partition("=")
        if pair and not (key and equals):
            raise InvalidRequest("labels are given as k=v,k2=v2")
        if pair:
            labels[key] = value
    return labels
