"""`ciab sandbox create`, `list`, `get`, `delete`, `start` and `stop` against the real server."""

import json
import re
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.commands import Ciab

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
STEPS = [
    "mint_keys",
    "choose_image",
    "launch_machine",
    "await_machine",
    "await_guest",
    "prepare_workspace",
    "clone_repositories",
    "run_scripts",
]


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a repository whose server takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/repository"


def test_create_tells_every_step_with_its_time_and_prints_the_id_alone(ciab: Ciab) -> None:
    made = ciab("sandbox", "create", "--provider", "command", "--name", "told", "--label", "a=b")
    assert made.code == 0
    assert ID.fullmatch(made.text.strip())
    assert [line.split()[0] for line in made.lines[1:]] == STEPS
    assert all(re.search(r" done +\d+\.\d\d s", line) for line in made.lines[1:])
    shown = json.loads(ciab.good("sandbox", "get", "told", "-o", "json"))
    assert (shown["id"], shown["state"], shown["labels"]) == (made.text.strip(), "running", {"a": "b"})
    ciab.good("sandbox", "delete", "told")


def test_create_without_waiting_prints_the_id_at_once_and_delete_waits(ciab: Ciab) -> None:
    identity = ciab.good("sandbox", "create", "--provider", "command", "--no-wait")
    assert ID.fullmatch(identity)
    assert ciab.good("sandbox", "delete", identity[:8]) == identity[:8]
    assert json.loads(ciab.good("-o", "json", "sandbox", "get", identity))["state"] == "terminated"
    assert ciab("sandbox", "delete", identity).code == 0


def test_a_creation_that_fails_says_step_reason_and_remedy_in_one_line(ciab: Ciab) -> None:
    failed = ciab(
        "sandbox", "create", "--provider", "command", "--name", "bad", "--image", "ami-0123456789abcdef0"
    )
    assert failed.code == 1
    assert failed.lines[-1].startswith("error: choose_image: sandbox bad: ")
    assert "ami-0123456789abcdef0" in failed.lines[-1]
    assert "; check " in failed.lines[-1]
    shown = ciab.good("sandbox", "get", failed.text.strip())
    assert re.search(r"^state: +failed$", shown, re.MULTILINE)
    assert re.search(r"^failure: +choose_image: .*\[ec2_error\]$", shown, re.MULTILINE)


def test_an_agent_that_is_not_built_yet_is_refused_clearly(ciab: Ciab) -> None:
    refused = ciab("sandbox", "create", "--provider", "codex")
    assert (refused.code, refused.out) == (1, b"")
    assert refused.lines == [
        "error: agent provider 'codex' is not available in this release; available: command"
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "a b"], "a name has 1 to 63 characters"),
        (["--name", "a\nb"], "a name has 1 to 63 characters"),
        (["--label", "x"], "'x' is not KEY=VALUE"),
        (["-e", "1A=x"], "environment variable"),
        (["--git-repo", "ext::sh -c id"], "a git URL"),
        (["--env-file", "/nowhere"], "cannot read /nowhere"),
        (["--no-such-option"], "No such option"),
        (["--timeout", "-5"], "--timeout"),
        (["-e", "A=\udcff"], "env_vars.A: it has characters that UTF-8 cannot carry"),
    ],
)
def test_bad_options_are_usage_errors(ciab: Ciab, arguments: list[str], said: str) -> None:
    refused = ciab("sandbox", "create", "--provider", "command", *arguments)
    assert (refused.code, refused.out) == (2, b"")
    assert said in refused.err


def test_an_interrupted_wait_leaves_the_sandbox_and_says_how_to_end_it(ciab: Ciab, silent: str) -> None:
    waiting = ciab.begin("sandbox", "create", "--provider", "command", "--git-repo", silent)
    assert waiting.stderr is not None
    said = b""
    while b"prepare_workspace" not in said:
        said += waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    out, rest = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (130, b"")
    identity = ID.findall(said.decode())[0]
    assert f"goes on being made; end it with: ciab sandbox delete {identity}" in rest.decode()
    assert "Traceback" not in rest.decode()
    assert json.loads(ciab.good("sandbox", "get", identity, "-o", "json"))["state"] == "creating"
    ciab.good("sandbox", "delete", identity)


def test_a_wait_that_is_too_long_says_what_to_do(ciab: Ciab, silent: str) -> None:
    late = ciab(
        "sandbox", "create", "--provider", "command", "--name", "late", "--git-repo", silent, "--timeout", "2"
    )
    assert late.code == 1
    assert late.lines[-1].startswith("error: sandbox late does not run after 2 s; it goes on; ")
    ciab.good("sandbox", "delete", "late")


def test_piped_lists_are_plain_and_whole(ciab: Ciab, box: str) -> None:
    listed = ciab("sandbox", "list", "--state", "running")
    assert b"\033" not in listed.out
    head, *rows = listed.text.splitlines()
    assert head.split() == ["NAME", "ID", "STATE", "PROVIDER", "CREATED", "COST", "ENDPOINT"]
    [row] = [row.split() for row in rows if row.split()[0] == box]
    assert ID.fullmatch(row[1])
    assert row[2:4] == ["running", "command"]
    assert row[5].startswith(("$", "<$"))
    assert row[6].startswith("ssh://ubuntu@127.")


def test_lists_are_filtered(ciab: Ciab, box: str) -> None:
    assert [
        one["name"] for one in json.loads(ciab.good("sandbox", "list", "--state", "running", "-o", "json"))
    ] == [box]
    assert json.loads(ciab.good("-o", "json", "sandbox", "list", "--provider", "codex")) == []


def test_secrets_are_not_shown(ciab: Ciab, box: str) -> None:
    assert "for all" not in ciab.good("sandbox", "get", box, "-o", "json")


def test_a_sandbox_that_is_not_there_is_one_line_of_error(ciab: Ciab) -> None:
    missing = ciab("sandbox", "get", "nobody")
    assert (missing.code, missing.out, len(missing.lines)) == (1, b"", 1)
    assert "nobody" in missing.err


def test_errors_for_programs_are_json(ciab: Ciab) -> None:
    missing = ciab("sandbox", "get", "nobody", "-o", "json")
    assert json.loads(missing.err)["error"]["code"] == "sandbox_not_found"


def test_deleting_several_names_the_one_that_failed_and_ends_the_others(ciab: Ciab) -> None:
    ciab.good("sandbox", "create", "--provider", "command", "--name", "one", "--no-wait")
    ended = ciab("sandbox", "delete", "one", "nobody")
    assert (ended.code, ended.text) == (1, "one\n")
    assert "nobody" in ended.err
    assert json.loads(ciab.good("sandbox", "get", "one", "-o", "json"))["state"] == "terminated"


def test_stop_and_start_keep_the_disk(ciab: Ciab) -> None:
    ciab.good("sandbox", "create", "--provider", "command", "--name", "moves", "--persistent")
    ciab.good("sandbox", "exec", "moves", "--", "touch", "kept")
    assert ciab.good("sandbox", "stop", "moves") == "moves is stopped"
    assert ciab("sandbox", "exec", "moves", "--", "ls").code == 125
    assert ciab.good("sandbox", "start", "moves") == "moves is running"
    assert ciab.good("sandbox", "exec", "moves", "--", "ls") == "kept"
    assert "sandbox_invalid_state" in ciab("-o", "json", "sandbox", "start", "moves").err
    ciab.good("sandbox", "delete", "moves")
