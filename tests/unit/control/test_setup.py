"""Set-up inside the machine: what is sent there, and what never stands on a command line."""

import pytest

from ciab.control.names import name_from
from ciab.control.setup import clone_commands, without_login
from ciab.core.secret import Secret
from ciab.core.spec import GitRepo

URL = "https://example.com/team/app.git"


def test_a_password_leaves_the_url_for_the_environment() -> None:
    url, login = without_login(Secret("https://bot:p%40ss@example.com/team/app.git"))
    assert url == URL
    assert login["CIAB_GIT_USER"].reveal() == "bot"
    assert login["CIAB_GIT_PASSWORD"].reveal() == "p@ss"
    assert "p@ss" not in login["GIT_CONFIG_VALUE_0"].reveal()


@pytest.mark.parametrize("url", [URL, "git@example.com:team/app.git", "ssh://git@example.com/app.git"])
def test_a_url_without_password_stays_as_it_is(url: str) -> None:
    assert without_login(Secret(url)) == (url, {})


def test_a_clone_is_made_beside_its_place_and_moved_there_last() -> None:
    commands = clone_commands(GitRepo(Secret(URL)), URL, "app")
    assert commands == [
        ("rm", "-rf", "--", "app.part"),
        ("git", "clone", "-q", "--", URL, "app.part"),
        ("mv", "-T", "--", "app.part", "app"),
    ]


def test_every_wish_of_a_repository_reaches_git() -> None:
    repo = GitRepo(
        Secret(URL), branch="main", commit="0123abc", depth=3, sparse_paths=("a", "b"), submodules=True
    )
    inside = [" ".join(command) for command in clone_commands(repo, URL, "app")[1:-1]]
    assert inside == [
        f"git clone -q --depth=3 --branch=main --sparse --filter=blob:none -- {URL} app.part",
        "git -C app.part sparse-checkout set a b",
        "git -C app.part fetch -q --depth=3 origin 0123abc",
        "git -C app.part checkout -q 0123abc --",
        "git -C app.part submodule update -q --init --recursive",
    ]


def test_names_differ_and_fit_a_tag() -> None:
    names = {name_from(number * 2654435761 % 2**32) for number in range(1000)}
    assert len(names) == 1000
    assert max(map(len, names)) <= 30
