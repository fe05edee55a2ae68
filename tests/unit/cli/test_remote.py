"""Where our options end and the remote command begins."""

import pytest

from ciab.cli.remote import in_order

VALUED = {"--workdir", "-e", "--env", "--timeout", "-o"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("box -- uname -a", "-- box uname -a"),
        ("box uname -a", "-- box uname -a"),
        ("--workdir /tmp box -- pwd", "--workdir /tmp -- box pwd"),
        ("box --workdir /tmp -- pwd", "--workdir /tmp -- box pwd"),
        ("-e A=b box --timeout 3 -it -- sh", "-e A=b --timeout 3 -it -- box sh"),
        ("box -ie A=b -- printenv -e A", "-ie A=b -- box printenv -e A"),
        ("box -eA=b --workdir=/ -i cat -n", "-eA=b --workdir=/ -i -- box cat -n"),
        ("box git checkout -- file", "-- box git checkout -- file"),
        ("box -- -- x", "-- box -- x"),
        ("-- box cat -i", "-- box cat -i"),
        ("box -o json -- env -i", "-o json -- box env -i"),
        ("box --", "-- box"),
        ("--help", "--help --"),
        ("", "--"),
        ("- cat", "-- - cat"),
    ],
)
def test_options_are_ours_up_to_the_remote_command(line: str, expected: str) -> None:
    assert in_order(line.split(), VALUED) == expected.split()
