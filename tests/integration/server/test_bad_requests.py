"""Requests that are refused: each in its own words, and nothing is changed or launched."""

import json
from typing import Any

import httpx
import pytest

from tests.refusals import SECRET, refusal

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("nothing_changes")]

API = "/api/v1/sandboxes"
JSON = {"Content-Type": "application/json"}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"nmae": SECRET}, "unknown field nmae; did you mean name?"),
        ({"agent_provider": None}, "agent_provider: "),
        ({"agent_provider": "claude-code"}, "'claude-code' is not available in this release; available: "),
        ({"name": "bell\x07"}, "name: a name has 1 to 63 characters"),
        ({"name": "box"}, "the name box is taken"),
        ({"env_vars": [SECRET]}, "env_vars: it should be an object"),
        ({"env_vars": {"A": SECRET + "\0"}}, "env_vars.A: a NUL character"),
        ({"env_vars": {"A": SECRET + "\ud800"}}, "env_vars.A: it has characters that UTF-8 cannot carry"),
        ({"provisioning_scripts": [SECRET + "\udcff"]}, "provisioning_scripts.0: it has characters"),
        ({"git_repos": [{"url": f"https://user:{SECRET}@"}]}, "git_repos.0.url: a git URL"),
        ({"ec2": {"tags": {f"t{n}": "" for n in range(51)}}}, "51 tags are too many"),
        ({"ec2": {"tags": {"aws:cost": "x"}}}, "'aws:cost' begins with 'aws:'"),
        ({"ec2": {"tags": {"ciab-managed": "false"}}}, "'ciab-managed' is set by CIAB"),
        ({"ec2": {"tags": {"ciab-owner": "me"}}}, "'ciab-owner' is set by CIAB"),
        ({"ec2": {"region": "http://evil.example"}}, "a region has a name like eu-west-1"),
        ({"ec2": {"instance_type": "t3 medium"}}, "ec2.instance_type: an identifier has"),
        ({"image": "ami-1", "ec2": {"ami": "ami-2"}}, "two different images; give one of them"),
        ({"credentials": [SECRET]}, "does not have credentials yet; leave it out"),
        ({"agent_config": {"model": "m"}}, "does not have agent_config yet"),
        ({"timeout_secs": -1}, "timeout_secs: "),
        ({"timeout_secs": 1e12}, "timeout_secs: "),
        ({"idle_timeout_secs": "soon"}, "idle_timeout_secs: "),
        ({"workspace": "a b"}, "a name has 1 to 63 characters"),
        ({"ec2": {"spot_grace_command": ["", SECRET]}}, "its first word names a program"),
        ({"persistence": "persistent", "ec2": {"spot": True}}, "a persistent sandbox cannot be one"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
async def test_specs(http: httpx.AsyncClient, fields: dict[str, Any], said: str) -> None:
    body = json.dumps({"agent_provider": "command", **fields}).encode()
    answer = await http.post(API, content=body, headers=JSON)
    code = (409, "conflict") if "taken" in said else (422, "invalid_request")
    assert said in refusal(answer, *code)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body: it is required"),
        (b"\0", "not JSON: something is wrong at character 0"),
        (b'{"agent_provider": }', "not JSON: something is wrong at character 19"),
        (b'{"agent_provider": "\xff"}', "not JSON: it is not UTF-8"),
        (b"[" * 100_000, "not JSON: it is nested too deeply"),
        (
            b'{"agent_provider":"command","agent_config":{"extra":{"a":' + b"[" * 400 + b"]" * 400 + b"}}}",
            "nested too deeply",
        ),
        (b"[1]", "the body: it should be an object"),
        (b'{"timeout_secs": ' + b"9" * 5000 + b"}", "the body is not JSON"),
        (b"\x1f\x8b\x08\0", "the body is not JSON"),
    ],
)
async def test_bodies(http: httpx.AsyncClient, body: bytes, said: str) -> None:
    assert said in refusal(await http.post(API, content=body, headers=JSON), 422, "invalid_request")


async def test_bodies_of_another_kind_are_told_the_right_one(http: httpx.AsyncClient) -> None:
    answer = await http.post(API, data={"agent_provider": "command"})
    assert "'Content-Type: application/json'" in refusal(answer, 422, "invalid_request")


async def test_huge_bodies_announced_or_not(http: httpx.AsyncClient) -> None:
    def endless() -> Any:
        async def pieces() -> Any:
            for _ in range(64):
                yield b" " * 65536

        return pieces()

    for content in (b" " * (4 << 20), endless()):
        said = refusal(await http.post(API, content=content, headers=JSON), 413, "request_too_large")
        assert "larger than 1024 KiB; upload large content as a file" in said


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"tab\there"])
async def test_idempotency_keys(http: httpx.AsyncClient, key: bytes) -> None:
    answer = await http.post(API, json={"agent_provider": "command"}, headers={b"Idempotency-Key": key})
    assert "Idempotency-Key has 1 to 255 printable" in refusal(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=gone", "state.0: Input should be 'pending', "),
        ("limit=0", "limit: "),
        ("limit=many", "limit: "),
        ("labels=x", "labels are given as k=v"),
        ("labels==v", "labels are given as k=v"),
        ("cursor=%00", "is no sandbox's id"),
        ("provider=%ff", "the address is not UTF-8"),
    ],
)
async def test_queries(http: httpx.AsyncClient, query: str, said: str) -> None:
    assert said in refusal(await http.get(f"{API}?{query}"), 422, "invalid_request")


ROUTES = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("POST", "/start", None),
    ("POST", "/stop", None),
    ("GET", "/stream", None),
    ("POST", "/exec", {"command": ["true"]}),
    ("POST", "/exec/stream", {"command": ["true"]}),
    ("GET", "/files", None),
    ("GET", "/files/etc/passwd", None),
    ("PUT", "/files/tmp/x", None),
    ("DELETE", "/files/tmp/x", None),
    ("POST", "/ssh-access", {"public_key": "ssh-ed25519 AAAA"}),
]


@pytest.mark.parametrize("name", [NOBODY, "nobody", "%00", "%F0%9F%98%80", "x" * 3000])
async def test_a_sandbox_that_does_not_exist_is_404_on_every_route(
    http: httpx.AsyncClient, name: str
) -> None:
    for method, rest, body in ROUTES:
        said = refusal(await http.request(method, f"{API}/{name}{rest}", json=body), 404, "sandbox_not_found")
        assert said.startswith("no sandbox has the id or name ")
        assert said.endswith("see 'ciab sandbox list'")
