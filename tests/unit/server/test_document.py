"""The OpenAPI document: the whole API, and nothing that is not there."""

from typing import Any

import pytest

from tests.unit.server.desk import Desk

ROUTES = {
    ("get", "/health"): "health",
    ("get", "/ready"): "ready",
    ("post", "/api/v1/sandboxes"): "create_sandbox",
    ("get", "/api/v1/sandboxes"): "list_sandboxes",
    ("get", "/api/v1/sandboxes/{reference}"): "get_sandbox",
    ("delete", "/api/v1/sandboxes/{reference}"): "delete_sandbox",
    ("post", "/api/v1/sandboxes/{reference}/start"): "start_sandbox",
    ("post", "/api/v1/sandboxes/{reference}/stop"): "stop_sandbox",
    ("post", "/api/v1/sandboxes/{reference}/pause"): "pause_sandbox",
    ("post", "/api/v1/sandboxes/{reference}/resume"): "resume_sandbox",
    ("post", "/api/v1/sandboxes/{reference}/recover"): "recover_sandbox",
    ("get", "/api/v1/costs"): "get_costs",
    ("post", "/api/v1/gc"): "collect_garbage",
    ("post", "/api/v1/sandboxes/{reference}/exec"): "run_command",
    ("post", "/api/v1/sandboxes/{reference}/exec/stream"): "stream_command",
    ("get", "/api/v1/sandboxes/{reference}/files"): "list_files",
    ("get", "/api/v1/sandboxes/{reference}/files/{path}"): "download_file",
    ("put", "/api/v1/sandboxes/{reference}/files/{path}"): "upload_file",
    ("delete", "/api/v1/sandboxes/{reference}/files/{path}"): "delete_file",
    ("get", "/api/v1/sandboxes/{reference}/stream"): "stream_events",
    ("post", "/api/v1/sandboxes/{reference}/ssh-access"): "allow_ssh",
}


@pytest.fixture
async def document(desk: Desk) -> dict[str, Any]:
    """As clients get it."""
    answer: dict[str, Any] = (await desk.http.get("/openapi.json")).json()
    return answer


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """By method and path."""
    paths = document["paths"].items()
    return {(method, path): operation for path, methods in paths for method, operation in methods.items()}


def test_it_has_every_route_under_a_plain_name(document: dict[str, Any]) -> None:
    found = {route: operation["operationId"] for route, operation in operations(document).items()}
    assert found == ROUTES


def test_every_refusal_has_the_error_body(document: dict[str, Any]) -> None:
    body = {"$ref": "#/components/schemas/ErrorBody"}
    for (_, path), operation in operations(document).items():
        if path.startswith("/api/"):
            for status in ("422", "4XX", "5XX"):
                assert operation["responses"][status]["content"]["application/json"]["schema"] == body


def test_streams_and_files_say_what_they_carry(document: dict[str, Any]) -> None:
    found = operations(document)

    def carried(method: str, path: str) -> list[str]:
        return list(found[method, f"/api/v1/sandboxes/{{reference}}/{path}"]["responses"]["200"]["content"])

    assert carried("get", "stream") == ["text/event-stream"]
    assert carried("post", "exec/stream") == ["text/event-stream"]
    assert carried("get", "files/{path}") == ["application/octet-stream"]
    assert {"StreamEvent", "OutputFrame", "ExitFrame", "ErrorFrame"} <= set(document["components"]["schemas"])
    upload = found["put", "/api/v1/sandboxes/{reference}/files/{path}"]
    assert list(upload["requestBody"]["content"]) == ["application/octet-stream"]


def test_keys_are_asked_for_where_they_are_needed(document: dict[str, Any]) -> None:
    assert document["security"] == [{"bearer": []}, {"key": []}]
    found = operations(document)
    assert [path for (_, path), one in found.items() if one.get("security") == []] == ["/health", "/ready"]
