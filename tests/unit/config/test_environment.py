"""Settings from the environment."""

import pytest

from ciab.core.errors import ConfigError
from ciab.server.config import load
from ciab.server.config.environment import variable_of
from ciab.server.config.keys import ANY, Key, all_keys, is_free
from ciab.server.config.rendering import default_of, toml


def set_by(**environ: str) -> dict[tuple[str, ...], object]:
    loaded = load(environ=environ)
    return {path: value for path, value, source in loaded.effective() if source.startswith("$")}


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("CIAB_SERVER__PORT", "9091", "server.port", 9091),
        ("ciab_server__Port", "9091", "server.port", 9091),
        ("CIAB_RUNTIME__EC2__REGION", "eu-west-1", "runtime.ec2.region", "eu-west-1"),
        ("CIAB_RUNTIME__EC2__SPOT", "TRUE", "runtime.ec2.spot", True),
        ("CIAB_RUNTIME__EC2__SPOT_MAX_PRICE", "0.05", "runtime.ec2.spot_max_price", "0.05"),
        ("CIAB_BUDGETS__PER_DAY", "2.5", "budgets.per_day", 2.5),
        ("CIAB_SERVER__PUBLIC_HOSTS", '["a", "b"]', "server.public_hosts", ["a", "b"]),
        ("CIAB_SERVER__PUBLIC_HOSTS", "a, b", "server.public_hosts", ["a", "b"]),
        ("CIAB_SERVER__PUBLIC_HOSTS", "", "server.public_hosts", []),
        ("CIAB_AGENTS__PROVIDERS__CODEX__BINARY", "7", "agents.providers.codex.binary", "7"),
    ],
)
def test_values_are_read_as_the_key_wants_them(variable: str, text: str, key: str, value: object) -> None:
    assert set_by(**{variable: text}) == {tuple(key.split(".")): value}


def test_names_with_dashes_and_dots() -> None:
    assert set_by(
        CIAB_AGENTS__PROVIDERS__CLAUDE_CODE__ENABLED="true",
        CIAB_RUNTIME__EC2__REGIONS__EU_WEST_1__SUBNET_ID="subnet-1",
        CIAB_RUNTIME__EC2__PRICES__T3_MEDIUM="0.04",
        CIAB_RUNTIME__EC2__PRICES__C7I_METAL_24XL="4",
        CIAB_RUNTIME__EC2__TAGS__CostCenter="7",
    ) == {
        ("agents", "providers", "claude-code", "enabled"): True,
        ("runtime", "ec2", "regions", "eu-west-1", "subnet_id"): "subnet-1",
        ("runtime", "ec2", "prices", "t3.medium"): 0.04,
        ("runtime", "ec2", "prices", "c7i.metal-24xl"): 4.0,
        ("runtime", "ec2", "tags", "CostCenter"): "7",
    }


def test_a_whole_table_at_once() -> None:
    tags = set_by(CIAB_RUNTIME__EC2__TAGS='{ "cost center" = "a", b = "c" }')
    assert tags == {("runtime", "ec2", "tags", "cost center"): "a", ("runtime", "ec2", "tags", "b"): "c"}


def test_what_is_no_setting_is_left_alone() -> None:
    ours = ("CIAB_SERVER_URL", "CIAB_API_KEY", "CIAB_ENCRYPTION_KEY", "CIAB_MY_KEY", "SERVER__PORT")
    assert set_by(CIAB_CONFIG="", **dict.fromkeys(ours, "1")) == {}


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("CIAB_SERVER__PROT", "CIAB_SERVER__PORT"),
        ("CIAB_RUNTIME__EC2__REGOIN", "CIAB_RUNTIME__EC2__REGION"),
        ("CIAB_RUNTIME__REGION", "CIAB_RUNTIME__EC2__REGION"),
        ("CIAB_SERVER__PORT__", "CIAB_SERVER__PORT"),
        ("CIAB__SERVER__PORT", "CIAB_SERVER__PORT"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(variable: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(environ={variable: "1"})
    assert refusal.value.message == (
        f"${variable}: there is no such setting; the nearest valid one is {nearest}"
    )


SINGLE_KEYS = [key for key in all_keys() if not is_free(key)]


@pytest.mark.parametrize("key", SINGLE_KEYS, ids=lambda key: ".".join(key.path))
def test_every_key_can_be_set(key: Key) -> None:
    path = tuple("eu-west-1" if name == ANY else name for name in key.path)
    value = default_of(key)
    text = value if isinstance(value, str) else toml(value)
    assert set(set_by(**{variable_of(path): text})) == {path}
