"""`ciab server`, and what holds for every command."""

import json
import re
import socket
from pathlib import Path

import pytest

from tests.commands import Ciab
from tests.server import RunningServer


def test_status_of_a_server_that_works(ciab: Ciab) -> None:
    shown = ciab.good("server", "status")
    assert re.search(r"^status: +ready$", shown, re.MULTILINE)
    assert re.search(r"^backend: +local$", shown, re.MULTILINE)
    assert json.loads(ciab.good("server", "status", "-o", "json"))["status"] == "ready"


@pytest.fixture
def nobody() -> Ciab:
    """At an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return Ciab(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["server", "status"], 1),
        (["sandbox", "list"], 1),
        (["files", "list", "x", "/"], 1),
        (["sandbox", "exec", "x", "--", "true"], 125),
    ],
)
def test_no_server_is_one_line_that_says_what_to_do(nobody: Ciab, arguments: list[str], code: int) -> None:
    failed = nobody(*arguments)
    assert (failed.code, failed.out) == (code, b"")
    [line] = failed.lines
    assert line.startswith(
        f"error: no CIAB server answers at {nobody.url}; start one with 'ciab server start'"
    )


def test_a_proxy_of_the_environment_is_not_asked_about_loopback(ciab: Ciab, nobody: Ciab) -> None:
    proxied = Ciab(
        ciab.url, dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), nobody.url)
    )
    assert proxied("server", "status").code == 0


def test_an_address_that_is_none(ciab: Ciab) -> None:
    failed = ciab("--server-url", "localhost:9090", "sandbox", "list")
    assert failed.lines == ["error: localhost:9090 is not a server's address; give it as http://HOST:PORT"]


def test_alone_it_says_what_to_do_next(ciab: Ciab) -> None:
    assert "ciab sandbox create --provider command" in ciab.good()
    assert ciab.good("--version").startswith("ciab ")
    assert ciab("no-such-noun").code == 2


def test_stop_waits_for_the_end_and_takes_everything_down(tmp_path: Path) -> None:
    here = RunningServer(tmp_path)
    here.start()
    try:
        ciab = Ciab(here.url, {"CIAB_CONFIG": str(tmp_path / "config.toml")})
        ciab.good("sandbox", "create", "--provider", "command", "--no-wait")
        stopped = ciab("server", "stop")
        assert stopped.code == 0, stopped.err
        assert here.wait() == 0
        again = ciab("server", "stop")
        assert again.code == 0
        assert "no server is running" in again.err
        here.start()
        assert json.loads(Ciab(here.url).good("sandbox", "list", "-o", "json"))[0]["state"] == "terminated"
    finally:
        here.end()
        here.end_region()


def test_stop_and_keep_leaves_machines_for_the_next_start(tmp_path: Path) -> None:
    here = RunningServer(tmp_path)
    here.start()
    try:
        ciab = Ciab(here.url, {"CIAB_CONFIG": str(tmp_path / "config.toml")})
        ciab.good("sandbox", "create", "--provider", "command", "--name", "kept")
        ciab.good("sandbox", "exec", "kept", "--", "touch", "before")
        assert ciab("server", "stop", "--keep").code == 0
        assert here.wait() == 0
        here.start()
        assert Ciab(here.url).good("sandbox", "exec", "kept", "--", "ls") == "before"
    finally:
        here.end()
        here.end_region()


def test_a_server_with_keys_takes_them_from_option_and_environment(tmp_path: Path) -> None:
    key = "k3y-of-sixteen-and-more"
    here = RunningServer(tmp_path, {"security": {"api_keys": [key]}})
    here.start()
    try:
        without = Ciab(here.url)("sandbox", "list")
        assert (without.code, len(without.lines)) == (1, 1)
        assert Ciab(here.url, {"CIAB_API_KEY": key})("sandbox", "list").code == 0
        assert Ciab(here.url)("sandbox", "list", "--api-key", key).code == 0
    finally:
        here.end()
        here.end_region()
