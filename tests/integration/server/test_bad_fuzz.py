"""Whatever is sent, the answer is a refusal with a code or a result, and the server is well afterwards."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ciab.schema.requests import FIELD_NAMES
from tests.server import RunningServer

API = "/api/v1/sandboxes"
FEW = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = ["..", ".", "~", "~/", "/", "%", "%00", "\0", "\n", "\ud800", "a" * 300, "-1", "box", "nan", "{}"]


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(FIELD_NAMES) | text, inner, max_size=5)


text = st.text(st.characters(), max_size=40) | st.sampled_from(ODD)
leaf = st.none() | st.booleans() | st.integers() | st.floats() | text
value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=4) | objects(inner), max_leaves=12)


def escaped(words: list[str]) -> str:
    return "/".join(quote(word.encode("utf-8", "surrogatepass"), safe="") for word in words)


@pytest.fixture(scope="module")
def ask(shared: RunningServer) -> Any:
    """Send a request; the answer must be one that a client can act on."""
    with httpx.Client(base_url=shared.url, trust_env=False, timeout=30) as client:

        def send(method: str, path: str, body: Any = None, headers: Mapping[bytes, bytes] = {}) -> None:
            content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            sent = {b"Content-Type": b"application/json", **headers}
            answer = client.request(method, API + path, content=content, headers=sent)
            assert answer.status_code < 500 or answer.json()["error"]["code"] == "ssh_error", answer.text
            if answer.status_code >= 400 and method != "HEAD":
                assert answer.json()["error"].keys() == {"code", "message", "step", "hint"}

        yield send
        assert client.get("/health").status_code == 200
        assert client.get(API).status_code == 200
    assert "Traceback" not in shared.output()


@FEW
@given(st.binary(max_size=200) | objects(value))
def test_specs(ask: Any, body: Any) -> None:
    ask("POST", "", body)
    if isinstance(body, dict):  # never valid: a NUL is in no script
        ask("POST", "", {**body, "agent_provider": "command", "provisioning_scripts": ["\0"]})


@FEW
@given(objects(value), st.sampled_from(["exec", "exec/stream", "ssh-access"]))
def test_commands(ask: Any, body: dict[str, Any], route: str) -> None:
    rest = {"command": ["true"]} if route != "ssh-access" else {}
    ask("POST", f"/box/{route}", {"timeout_secs": 5, **rest, **body})


@FEW
@given(st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]), st.lists(text, min_size=1, max_size=4))
def test_paths(ask: Any, method: str, words: list[str]) -> None:
    ask(method, f"/box/files/{escaped(words)}", b"x" if method == "PUT" else None)


@FEW
@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "OPTIONS"]), st.lists(text, min_size=1, max_size=4))
def test_routes(ask: Any, method: str, words: list[str]) -> None:
    ask(method, f"/{escaped(words)}")


@FEW
@given(
    st.dictionaries(st.sampled_from(["state", "labels", "limit", "cursor", "path"]) | text, text, max_size=4)
)
def test_queries(ask: Any, pairs: dict[str, str]) -> None:
    query = "&".join(f"{escaped([name])}={escaped([value])}" for name, value in pairs.items())
    ask("GET", f"?{query}")
    ask("GET", f"/box/files?{query}")


NAMES = ["Idempotency-Key", "Authorization", "X-API-Key", "Origin", "Content-Type", "X-Request-ID", "Range"]
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60
)


@FEW
@given(st.dictionaries(st.sampled_from(NAMES), VALUES.map(str.strip), max_size=4))
def test_headers(ask: Any, headers: dict[str, str]) -> None:
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    ask("POST", "/box/exec", {"command": ["true"]}, sent)
    ask("GET", "/box/files/etc/hostname", None, sent)
