import pytest
from pydantic import ValidationError

from ciab.core.errors import InvalidRequest
from ciab.schema.errors import explain
from ciab.schema.requests import FIELD_NAMES
from ciab.schema.spec import SandboxSpec
from ciab.schema.values import REVEAL, masked_url

SECRET = "hunter2-not-to-be-seen"


def refused(**fields: object) -> str:
    """What a user is told about a spec with these fields."""
    with pytest.raises(ValidationError) as caught:
        SandboxSpec.model_validate({"agent_provider": "command", **fields})
    assert SECRET not in str(caught.value)
    message, hint = explain(caught.value.errors(), FIELD_NAMES)
    assert SECRET not in message
    return f"{message}; {hint}"


def spec(**fields: object) -> SandboxSpec:
    return SandboxSpec.model_validate({"agent_provider": "command", **fields})


def test_only_the_provider_is_required() -> None:
    assert spec().to_core().agent_provider == "command"
    with pytest.raises(ValidationError, match="Field required"):
        SandboxSpec.model_validate({})


@pytest.mark.parametrize("name", ["a", "A9", "my-box_1.x", "a" * 63])
def test_good_names(name: str) -> None:
    assert spec(name=name).name == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a\nb", "a\n", "a\x1b[31m", "a/b", "ä", "a" * 64])
def test_bad_names_are_refused(name: str) -> None:
    assert "a name has 1 to 63 characters" in refused(name=name)


@pytest.mark.parametrize(
    ("field", "guess"), [("git_repo", "git_repos"), ("env_var", "env_vars"), ("lables", "labels")]
)
def test_an_unknown_field_is_refused_and_guessed(field: str, guess: str) -> None:
    assert refused(**{field: SECRET}) == f"unknown field {field}; did you mean {guess}?"


def test_an_unknown_field_deep_inside_is_named_with_its_path() -> None:
    assert refused(ec2={"instancetype": "x"}) == "unknown field ec2.instancetype; did you mean instance_type?"


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"aws:x": "1"}, "'aws:', which AWS reserves"),
        ({"AWS:x": "1"}, "'aws:', which AWS reserves"),
        ({"ciab-managed": "false"}, "set by CIAB and cannot be overridden"),
        ({"ciab-sandbox-id": "x"}, "set by CIAB and cannot be overridden"),
        ({"Name": "x"}, "set by CIAB and cannot be overridden"),
        ({"ciab-owner": "x"}, "set by CIAB and cannot be overridden"),
        ({"ciab-released": "x"}, "set by CIAB and cannot be overridden"),
        ({"": "x"}, "1 to 127 characters"),
        ({"k" * 128: "x"}, "1 to 127 characters"),
        ({"k": "v" * 257}, "EC2 takes 256"),
        ({"k": "a\nb"}, "cannot be printed"),
        ({f"k{i}": "v" for i in range(46)}, "46 tags are too many"),
        ({f"k{i}": "v" for i in range(51)}, "51 tags are too many"),
    ],
)
def test_tags_that_ec2_or_we_would_refuse(tags: dict[str, str], said: str) -> None:
    assert said in refused(ec2={"tags": tags})


def test_45_tags_and_ours_are_the_50_that_ec2_takes() -> None:
    tags = {f"k{i}": "v" * 256 for i in range(45)}
    assert spec(ec2={"tags": tags}).to_core().ec2.tags == tags


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "A\0"])
def test_bad_environment_names(name: str) -> None:
    assert "environment variable" in refused(env_vars={name: SECRET})


def test_a_nul_in_a_value_is_refused_without_showing_it() -> None:
    assert "NUL" in refused(env_vars={"KEY": f"{SECRET}\0"})


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/a/b.git",
        "http://127.0.0.1:8080/r",
        "ssh://git@host:22/a",
        "git@github.com:a/b.git",
        f"https://user:{SECRET}@host/a",
    ],
)
def test_git_urls(url: str) -> None:
    assert spec(git_repos=[{"url": url}]).to_core().git_repos[0].url.reveal() == url


@pytest.mark.parametrize(
    "url",
    [
        f"ext::sh -c {SECRET}",
        "ext::sh",
        "file:///etc",
        "/etc",
        "--upload-pack=x",
        "https://",
        "https:///a",
        "ssh://-oProxyCommand=x/a",
        "git@-oProxyCommand=x:a",
        "https://h:port/a",
        "https://h/a\nb",
        "git@host:-x",
    ],
)
def test_dangerous_or_broken_git_urls_are_refused(url: str) -> None:
    assert "a git URL" in refused(git_repos=[{"url": url}])


@pytest.mark.parametrize("field", ["branch", "tag"])
@pytest.mark.parametrize("word", ["--upload-pack=x", "", "a b", "a\nb"])
def test_references_that_git_would_take_for_options(field: str, word: str) -> None:
    assert "git reference" in refused(git_repos=[{"url": "https://h/a", field: word}])


def test_a_branch_and_a_tag_contradict_each_other() -> None:
    assert "not both" in refused(git_repos=[{"url": "https://h/a", "branch": "a", "tag": "b"}])


@pytest.mark.parametrize("path", ["../x", "a/../../x", "", "a\nb", "a\0"])
def test_clone_destinations_stay_below_the_workspace(path: str) -> None:
    refused(git_repos=[{"url": "https://h/a", "dest_path": path}])


@pytest.mark.parametrize(
    "fields",
    [
        {"credentials": ["x"]},
        {"agent_config": {"model": "m"}},
        {"git_repos": [{"url": "https://h/a", "credential_id": "c"}]},
    ],
)
def test_what_this_release_does_not_have_is_said(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="this release does not have") as caught:
        spec(**fields).to_core()
    assert caught.value.hint == "leave it out"


def test_empty_values_of_later_fields_are_accepted() -> None:
    spec(credentials=[], agent_config={"mcp_servers": {}}).to_core()


@pytest.mark.parametrize("field", ["timeout_secs", "idle_timeout_secs"])
@pytest.mark.parametrize("secs", [0, 0.5, 86_400, 10 * 365 * 86_400, None])
def test_limits_in_time_reach_the_core(field: str, secs: float | None) -> None:
    assert getattr(spec(**{field: secs}).to_core(), field) == secs


@pytest.mark.parametrize("field", ["timeout_secs", "idle_timeout_secs"])
@pytest.mark.parametrize("secs", [-1, 10 * 365 * 86_400 + 1, 1e300, float("inf"), float("nan"), "soon"])
def test_limits_in_time_that_nobody_can_mean_are_refused(field: str, secs: object) -> None:
    assert refused(**{field: secs}).startswith(f"{field}: ")


def test_a_workspace_is_a_name() -> None:
    assert spec(workspace="team-1").to_core().workspace == "team-1"
    assert "a name has 1 to 63 characters" in refused(workspace="a b")


def test_the_grace_command_is_an_argv_list() -> None:
    argv = ["sh", "-c", "sync"]
    assert spec(ec2={"spot_grace_command": argv}).to_core().ec2.spot_grace_command == tuple(argv)
    assert "names a program" in refused(ec2={"spot_grace_command": ["", "x"]})
    assert "spot_grace_command" in refused(ec2={"spot_grace_command": "sync"})
    assert "NUL" in refused(ec2={"spot_grace_command": ["a\0"]})


@pytest.mark.parametrize(
    "fields",
    [{"env_vars": {"A": "\ud800"}}, {"provisioning_scripts": ["\udcff"]}, {"labels": {"a": "\ud800"}}],
)
def test_text_that_could_not_be_shown_again_is_refused(fields: dict[str, object]) -> None:
    refused(**fields)


def test_a_mask_is_not_taken_for_a_secret() -> None:
    with pytest.raises(InvalidRequest, match="in place of a secret"):
        spec(env_vars={"KEY": "***"}).to_core()


def test_two_images_contradict_each_other() -> None:
    with pytest.raises(InvalidRequest, match="two different images"):
        spec(image="ami-1", ec2={"ami": "ami-2"}).to_core()


def test_secrets_are_masked_wherever_a_spec_is_shown() -> None:
    given = spec(
        env_vars={"KEY": SECRET},
        git_repos=[{"url": f"https://u:{SECRET}@h/a"}],
        agent_config={
            "mcp_servers": {"m": {"command": "x", "env": {"KEY": SECRET}, "headers": {"A": SECRET}}}
        },
    )
    for text in (given.model_dump_json(), repr(given), str(given), str(given.model_dump(mode="json"))):
        assert SECRET not in text
    assert given.model_dump(mode="json")["env_vars"] == {"KEY": "***"}
    assert given.model_dump(mode="json")["git_repos"][0]["url"] == "https://***@h/a"


def test_a_client_sends_the_secrets_themselves() -> None:
    given = spec(env_vars={"KEY": SECRET}, git_repos=[{"url": f"https://u:{SECRET}@h/a"}])
    sent = given.model_dump(mode="json", context=REVEAL, exclude_defaults=True)
    assert SandboxSpec.model_validate(sent) == given
    assert sent["env_vars"] == {"KEY": SECRET}


def test_a_spec_survives_the_way_through_the_core() -> None:
    given = spec(
        name="n",
        image="ami-1",
        persistence="persistent",
        env_vars={"A": "1"},
        git_repos=[
            {"url": "https://h/a", "branch": "b", "depth": 1, "sparse_paths": ["x"], "submodules": True}
        ],
        provisioning_scripts=["true"],
        labels={"a": "b"},
        timeout_secs=60,
        idle_timeout_secs=0,
        workspace="w",
        ec2={
            "region": "eu-west-1",
            "security_group_ids": ["sg-1"],
            "tags": {"T": "x"},
            "spot": False,
            "spot_grace_command": ["sync"],
        },
    )
    assert SandboxSpec.from_core("n", given.to_core()) == given


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a", "https://h/a"),
        ("https://user:pw@h/a", "https://***@h/a"),
        ("https://token@h/a", "https://***@h/a"),
        ("https://h/a?access_token=x", "https://h/a?***"),
        ("ssh://git@h/a", "ssh://git@h/a"),
        ("ssh://git:pw@h:22/a", "ssh://git:***@h:22/a"),
        ("git@h:a/b", "git@h:a/b"),
    ],
)
def test_masked_urls(url: str, shown: str) -> None:
    assert masked_url(url) == shown
