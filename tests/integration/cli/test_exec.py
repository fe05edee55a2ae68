"""`ciab sandbox exec`, `ssh` and `proxy` against the real server."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.commands import Ciab


def test_output_and_exit_code_are_the_commands_own(ciab: Ciab, box: str) -> None:
    ran = ciab("sandbox", "exec", box, "--", "sh", "-c", r"printf '\377out'; printf err >&2; exit 42")
    assert (ran.code, ran.out, ran.err) == (42, b"\xffout", "err")


def test_output_comes_while_the_command_runs(ciab: Ciab, box: str) -> None:
    running = ciab.begin("sandbox", "exec", box, "--", "sh", "-c", "echo first; sleep 60")
    assert running.stdout is not None
    assert running.stdout.readline() == b"first\n"
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in err


def test_an_interrupt_ends_the_remote_command(ciab: Ciab, box: str) -> None:
    running = ciab.begin("sandbox", "exec", box, "--", "sh", "-c", "echo $$; exec sleep 600")
    assert running.stdout is not None
    pid = running.stdout.readline().decode().strip()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    gone = f"for i in $(seq 100); do kill -0 {pid} 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
    assert ciab("sandbox", "exec", box, "--", "sh", "-c", gone).code == 0


def test_environment_and_folder(ciab: Ciab, box: str) -> None:
    taken = Ciab(ciab.url, {"TAKEN": "from here"})
    script = 'echo "$SHARED,$GIVEN,$TAKEN,$PWD"'
    given = ["-e", "GIVEN=a=b", "-e", "TAKEN", "--workdir", "/tmp"]
    assert (
        taken.good("sandbox", "exec", *given, box, "--", "sh", "-c", script) == "for all,a=b,from here,/tmp"
    )


def test_options_of_the_command_are_its_own(ciab: Ciab, box: str) -> None:
    assert ciab.good("sandbox", "exec", box, "--", "echo", "-o", "--help", "-e", "") == "-o --help -e "
    assert ciab.good("sandbox", "exec", box, "echo", "-o", "x") == "-o x"


@pytest.mark.parametrize("data", [b"", bytes(range(256)) * 1000, "é\n".encode()])
def test_standard_input_arrives_whole(ciab: Ciab, box: str, data: bytes) -> None:
    assert ciab("sandbox", "exec", "-i", box, "--", "cat", stdin=data).out == data


def test_without_i_standard_input_is_empty(ciab: Ciab, box: str) -> None:
    assert ciab("sandbox", "exec", box, "--", "cat", stdin=b"not sent").out == b""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["box", "--", "no-such-program"], 127, "no-such-program"),
        (["box", "--", "/etc"], 126, "/etc"),
        (["--timeout", "0.3", "box", "--", "sleep", "60"], 124, "its time was over"),
        (["box", "--", "sh", "-c", "kill -9 $$"], 137, ""),
        (["box", "--", "sh", "-c", "exit 2"], 2, ""),
        (["nobody", "--", "true"], 125, "nobody"),
        (["-t", "box", "--", "true"], 125, "cannot run a command on a terminal yet"),
        (["box"], 125, "Missing argument"),
        (["box", "--", ""], 125, "names a program"),
        (["--no-such-option", "box", "--", "true"], 125, "No such option"),
        (["-e", "SECRET-without-name", "box", "--", "true"], 125, "give NAME=VALUE"),
    ],
)
@pytest.mark.usefixtures("box")
def test_exit_codes(ciab: Ciab, arguments: list[str], code: int, said: str) -> None:
    ran = ciab("sandbox", "exec", *arguments)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert "SECRET" not in ran.err


def test_frames_for_programs_are_lines_of_json(ciab: Ciab, box: str) -> None:
    ran = ciab("sandbox", "exec", box, "true", "-o", "json")
    assert ran.text == "", "what stands behind the command's name is the command's"
    ran = ciab("sandbox", "exec", box, "-o", "json", "--", "sh", "-c", "echo é; exit 3")
    first, last = [json.loads(line) for line in ran.text.splitlines()]
    assert first == {"type": "stdout", "text": "é\n"}
    assert (last["type"], last["code"], ran.code) == ("exit", 3, 3)


def test_whoever_stops_reading_ends_the_command_quietly(ciab: Ciab, box: str) -> None:
    with ciab.begin("sandbox", "exec", box, "--", "yes", "no more") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"no more\n"
        running.stdout.close()
        assert running.wait(timeout=30) == 141
        assert running.stderr.read() == b""


def test_much_output_passes(ciab: Ciab, box: str) -> None:
    assert len(ciab("sandbox", "exec", box, "--", "head", "-c", "20000000", "/dev/zero").out) == 20_000_000


def test_ssh_logs_in_with_a_key_of_its_own_and_leaves_nothing(ciab: Ciab, box: str, tmp_path: Path) -> None:
    here = Ciab(ciab.url, {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)})
    ran = here("sandbox", "ssh", box, "--", "whoami; exit 5")
    assert (ran.code, ran.out) == (5, b"ubuntu\n"), ran.err
    assert list(tmp_path.iterdir()) == []


def test_ssh_carries_bytes_both_ways(ciab: Ciab, box: str) -> None:
    data = os.urandom(2_000_000)
    assert ciab("sandbox", "ssh", box, "--", "cat", stdin=data).out == data


def test_ssh_to_nobody_is_our_error(ciab: Ciab) -> None:
    failed = ciab("sandbox", "ssh", "nobody")
    assert (failed.code, len(failed.lines)) == (1, 1)


def test_the_private_key_never_stands_on_a_command_line_or_open_to_others(ciab: Ciab, box: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = Ciab(ciab.url, {"TMPDIR": folder})
        running = here.begin("sandbox", "ssh", box, "--", "echo in; cat")
        assert running.stdout is not None
        assert running.stdout.readline() == b"in\n"
        [key] = Path(folder).glob("ciab-ssh-*/key")
        assert key.parent.stat().st_mode & 0o777 == 0o700
        assert key.stat().st_mode & 0o777 == 0o600
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "PRIVATE KEY" not in lines
        running.communicate(timeout=30)
        assert list(Path(folder).iterdir()) == []


def test_the_proxy_is_the_machines_ssh_port(ciab: Ciab, box: str) -> None:
    with Path(os.devnull).open("rb") as nothing:
        ran = subprocess.run(
            [sys.executable, "-m", "ciab.cli.main", "sandbox", "proxy", box],
            stdin=nothing,
            capture_output=True,
            env=ciab.environment(),
            timeout=30,
            check=True,
        )
    assert ran.stdout.startswith(b"SSH-2.0-") or ran.stdout == b""
    running = ciab.begin("sandbox", "proxy", box)
    assert running.stdout is not None
    assert running.stdout.readline().startswith(b"SSH-2.0-")
    began = time.monotonic()
    running.communicate(timeout=30)
    assert running.returncode == 0
    assert time.monotonic() - began < 10


def test_the_proxy_to_nobody_is_our_error(ciab: Ciab) -> None:
    failed = ciab("sandbox", "proxy", "nobody")
    assert (failed.code, failed.lines) == (1, failed.lines[:1])
    assert "nobody" in failed.err
