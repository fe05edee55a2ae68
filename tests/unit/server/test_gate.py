"""Who may ask, from where, how much and for how long; and the one shape of every refusal."""

import asyncio
import json
import logging

import pytest

from ciab.core import errors
from ciab.core.errors import CiabError, GuestUnreachable
from ciab.core.secret import Secret
from ciab.server.api import Rules
from ciab.server.errors import STATUS, status_of
from ciab.testing.guest import Call, FakeConnections
from tests.unit.control.world import World
from tests.unit.server.desk import API, Desk, Exchange, desk_over

KEY = "a-key-of-sixteen-characters"


async def test_health_ready_and_the_document_need_no_key() -> None:
    async with desk_over(World(), Rules(api_keys=[Secret(KEY)])) as desk:
        for path in ("/health", "/ready", "/openapi.json"):
            assert (await desk.http.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 200),
        ({"Authorization": f"bearer  {KEY}"}, 200),
        ({"X-API-Key": KEY}, 200),
        ({"X-API-Key": KEY + "x"}, 401),
        ({"Authorization": f"Basic {KEY}"}, 401),
        ({"Authorization": "Bearer é"}, 401),
    ],
)
async def test_any_configured_key_lets_in(headers: dict[str, str], status: int) -> None:
    async with desk_over(World(), Rules(api_keys=[Secret("another-key-of-mine"), Secret(KEY)])) as desk:
        sent = {name: value.encode() for name, value in headers.items()}
        answer = await desk.http.get(API, headers=sent)  # type: ignore[arg-type]  # bytes are for é
        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error"]["code"] == "unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"
        assert (await desk.http.get("/nowhere")).status_code == 401, "what exists is nobody's business"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:9090"}, 200),
        ({"Host": "[::1]:9090"}, 200),
        ({"Host": "127.8.8.8"}, 200),
        ({"Host": "ciab.example.org"}, 200),
        ({"Host": "CIAB.example.org."}, 200),
        ({"Host": "evil.example.org"}, 403),
        ({"Host": "127.0.0.1.evil.example.org"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "[::1"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://ciab.example.org"}, 200),
        ({"Origin": "https://ui.example.org"}, 200),
        ({"Origin": "https://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example.org"}, 403),
    ],
)
async def test_foreign_hosts_and_origins_are_refused_before_anything_else(
    headers: dict[str, str], status: int
) -> None:
    rules = Rules(public_hosts=["ciab.example.org"], cors_origins=["https://ui.example.org"])
    async with desk_over(World(), rules) as desk:
        answer = await desk.http.get("/health", headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "forbidden"
            assert "x-request-id" in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "https://evil.example.org"}, 403), ({}, 401), ({"X-API-Key": KEY}, 404)],
)
async def test_websockets_are_refused_alike(headers: dict[str, str], status: int) -> None:
    async with desk_over(World(), Rules(api_keys=[Secret(KEY)])) as desk:
        exchange = Exchange(desk.app, "GET", f"{API}/nobody/proxy", headers=headers, kind="websocket")
        await exchange.begin()
        assert (await exchange.sent.get())["status"] == status
        assert "error" in json.loads(await exchange.text())


async def test_cors_is_for_the_listed_origins_only() -> None:
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with desk_over(World(), Rules([Secret(KEY)], cors_origins=["https://ui.example.org"])) as desk:
        asked = await desk.http.options(API, headers={"Origin": "https://ui.example.org", **ask})
        assert asked.headers["access-control-allow-origin"] == "https://ui.example.org"
        refused = await desk.http.get(API, headers={"Origin": "https://ui.example.org"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://ui.example.org"
    async with desk_over(World()) as desk:
        asked = await desk.http.options(API, headers={"Origin": "http://localhost:1", **ask})
        assert "access-control-allow-origin" not in asked.headers


async def test_a_request_id_is_taken_over_when_it_is_sane(desk: Desk) -> None:
    assert (await desk.http.get(API, headers={"X-Request-ID": "my.id-1"})).headers[
        "x-request-id"
    ] == "my.id-1"
    for odd in ("a b", "x" * 129, 'quo"te'):
        made = (await desk.http.get(API, headers={"X-Request-ID": odd})).headers["x-request-id"]
        assert len(made) == 32


async def test_unknown_routes_and_methods_have_the_error_body(desk: Desk) -> None:
    lost = await desk.http.get("/api/v1/nothing")
    assert (lost.status_code, lost.json()["error"]["code"]) == (404, "not_found")
    wrong = await desk.http.patch(API)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in wrong.headers["allow"] or "GET" in wrong.headers["allow"]
    assert (await desk.http.post(f"{API}/x/pause")).status_code == 404


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"agent_provider=command", "application/x-www-form-urlencoded", 422),
        (b'"' + b"x" * (1024 * 1024) + b'"', "application/json", 413),
    ],
)
async def test_bodies_that_are_no_request_are_refused(
    desk: Desk, content: bytes, kind: str, status: int
) -> None:
    answer = await desk.http.post(API, content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] in ("invalid_request", "request_too_large")
    if "form" in kind:
        assert "application/json" in answer.json()["error"]["hint"]


async def test_a_body_that_announces_too_much_is_refused_unread(desk: Desk) -> None:
    exchange = Exchange(desk.app, "POST", API, b"{", headers={"Content-Length": "99999999"})
    async with asyncio.timeout(5):
        await exchange.begin()
    assert (await exchange.sent.get())["status"] == 413


async def test_two_hosts_are_one_too_many(desk: Desk) -> None:
    both = [("Host", "127.0.0.1"), ("Host", "evil.example.org")]
    assert (await desk.http.get("/health", headers=both)).status_code == 403


async def test_a_request_that_takes_too_long_is_a_504() -> None:
    async with desk_over(World(), Rules(request_timeout_secs=0.05)) as desk:
        await desk.create(name="one")
        answer = await desk.http.post(f"{API}/one/exec", json={"command": ["sleep", "60"]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
        assert "exec/stream" in answer.json()["error"]["hint"]


async def test_an_error_that_nobody_foresaw_is_a_500_without_a_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(call: Call) -> int:
        raise RuntimeError("with secrets in it")

    world = World(connections=FakeConnections(programs={"broken": broken}))
    async with desk_over(world) as desk:
        await desk.create(name="one")
        with caplog.at_level(logging.ERROR):
            answer = await desk.http.post(f"{API}/one/exec", json={"command": ["broken"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secrets" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["error"]["hint"]
    assert "request broke" in caplog.text


async def test_a_fault_of_the_machine_keeps_its_code(desk: Desk) -> None:
    await desk.create(name="one")
    desk.world.connections.fail_next["connect"] = GuestUnreachable("it does not answer", hint="wait")
    answer = await desk.http.post(f"{API}/one/exec", json={"command": ["true"]})
    assert answer.status_code == 503
    assert answer.json()["error"] == {
        "code": "guest_unreachable",
        "message": "it does not answer",
        "step": None,
        "hint": "wait",
    }


def test_every_error_has_a_number() -> None:
    """What the contract says of each code."""
    numbers = {
        "config_error": 400,
        "invalid_request": 422,
        "unauthorized": 401,
        "forbidden": 403,
        "sandbox_not_found": 404,
        "file_not_found": 404,
        "agent_provider_not_found": 404,
        "sandbox_invalid_state": 409,
        "conflict": 409,
        "rate_limited": 429,
        "ec2_error": 502,
        "ssh_error": 502,
        "capacity_unavailable": 503,
        "runtime_unavailable": 503,
        "guest_unreachable": 503,
        "timeout": 504,
        "internal_error": 500,
    }
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CiabError)]
    plain = [kind for kind in kinds if kind is not errors.StepFailed]
    found = {kind.code: status_of(kind("x")) for kind in plain}
    assert numbers.items() <= found.items()
    assert set(STATUS.values()) <= set(range(400, 600))


async def test_while_the_server_ends_one_may_look_and_delete_only(desk: Desk) -> None:
    await desk.create(name="one")
    desk.services.closing.begun = True
    assert (await desk.http.get(f"{API}/one")).status_code == 200
    assert (await desk.http.delete(f"{API}/one")).status_code == 204
    refused = await desk.http.post(API, json={"agent_provider": "command"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "runtime_unavailable")
    ready = await desk.http.get("/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["the server is ending"])


async def test_ready_tells_why_not(desk: Desk) -> None:
    assert (await desk.http.get("/ready")).json() == {
        "status": "ready",
        "reasons": [],
        "warnings": [],
        "backend": "fake",
    }
    desk.troubles.append("the database: it is full")
    answer = await desk.http.get("/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["the database: it is full"])


async def test_cutting_everything_ends_what_is_under_way() -> None:
    rules = Rules()
    async with desk_over(World(), rules) as desk:
        await desk.create(name="one")
        exchange = Exchange(desk.app, "GET", f"{API}/one/stream")
        working = exchange.begin()
        await exchange.text()
        rules.in_flight.cut()
        async with asyncio.timeout(5):
            await working


async def test_the_log_names_routes_and_ids_never_paths_or_bodies(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.create(name="one")
    with caplog.at_level(logging.DEBUG):
        await desk.http.put(f"{API}/one/files/home/ubuntu/private-name", content=b"private-content")
        await desk.http.post(f"{API}/one/exec", json={"command": ["echo", "private-word"]})
    assert "private" not in "".join(
        str(vars(record)) for record in caplog.records if record.name.startswith("ciab")
    )
    logged = [record for record in caplog.records if getattr(record, "action", "") == "request_answered"]
    assert [record.__dict__["sandbox"] for record in logged] == ["one", "one"]
