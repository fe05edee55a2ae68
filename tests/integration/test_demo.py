"""`make demo`'s program: it needs loopback alone, whatever the user has set, and leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, str(ROOT / "scripts" / "demo.py")]

LOOPBACK_ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
if os.geteuid() != 0:
    LOOPBACK_ALONE.insert(1, "--map-root-user")


def foreign(home: Path) -> dict[str, str]:
    """The environment of a user of AWS, with a configuration of CIAB's for it."""
    file = home / ".config" / "ciab" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text('[runtime]\nbackend = "ec2"\n')
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE000000000",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": "eu-west-1",
        "CIAB_RUNTIME__BACKEND": "ec2",
        "CIAB_SERVER_URL": "http://192.0.2.1",
        "HTTP_PROXY": "http://192.0.2.1:3128",
    }


def left_behind() -> list[str]:
    """Folders and processes of demos."""
    folder = ROOT / ".demo"
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [*map(str, folder.glob("*")), *(line for line in processes.splitlines() if str(folder) in line)]


def test_it_needs_loopback_alone_whatever_the_user_has_set(tmp_path: Path) -> None:
    if subprocess.run([*LOOPBACK_ALONE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not make a network namespace: unshare is refused, or ip is not installed")
    ran = subprocess.run(
        [*LOOPBACK_ALONE, *DEMO],
        env=foreign(tmp_path),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "the same million bytes" in ran.stdout
    assert left_behind() == []
    assert [path.name for path in tmp_path.iterdir()] == [".config"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_everything_down(tmp_path: Path, number: signal.Signals) -> None:
    assert shutil.which("ps")
    with subprocess.Popen(DEMO, env=foreign(tmp_path), stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("$ ciab sandbox create"):
                break
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(timeout=60) == 130, rest
    assert "Interrupted" in rest
    assert left_behind() == []
