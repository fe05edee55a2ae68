"""What the EC2 adapter refuses or is refused: each with its own words, and nothing launched."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ciab.adapters.ec2.connect import connect_ec2
from ciab.adapters.ec2.settings import Ec2Settings
from ciab.core.errors import RuntimeRejected, RuntimeUnavailable
from ciab.core.ids import OwnerId
from ciab.core.machine import Outcome
from ciab.core.spec import Spec
from tests.ec2 import OWNER, SPEC, Account, account, wanting
from tests.region import REGION, RunningRegion


async def test_no_permission_names_action_and_statement(made: Account) -> None:
    await made.here.set_faults(denied=["RunInstances"])
    order = await made.order()
    with pytest.raises(RuntimeRejected, match="ec2:RunInstances") as caught:
        await made.ec2.machines.launch(order, made.attempts)
    assert caught.value.hint
    assert '"Action": "ec2:RunInstances"' in caught.value.hint
    assert (await made.attempt(order)).outcome is Outcome.REFUSED


async def test_a_quota_stops_at_once_and_is_named(here: RunningRegion) -> None:
    await here.set_faults(quota={"vcpus": 0})
    async with account(here, instance_types=["t3.large"]) as made:
        order = await made.order()
        with pytest.raises(RuntimeRejected, match=r"quota.*VcpuLimitExceeded") as caught:
            await made.ec2.machines.launch(order, made.attempts)
        assert "vCPU" in (caught.value.hint or "")
        assert (await made.attempt(order)).outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec("command", image="ami-0123456789abcdef0"), "ami-0123456789abcdef0"),
        (wanting(ami="ami-nonsense"), "ami-nonsense"),
        (wanting(instance_type="t3.enormous"), "t3.enormous"),
    ],
    ids=["image", "no image id", "type"],
)
async def test_what_does_not_exist_is_refused_before_anything_is_launched(
    made: Account, spec: Spec, words: str
) -> None:
    with pytest.raises(RuntimeRejected, match=words) as caught:
        await made.ec2.images.choose(spec, made.ec2.site_of(spec).place)
    assert caught.value.hint


async def test_a_type_of_another_architecture_than_the_image_is_refused(made: Account) -> None:
    image = (await made.order()).image.id
    spec = Spec("command", image=image, ec2=wanting(instance_type="t4g.small").ec2)
    with pytest.raises(RuntimeRejected, match=r"x86_64, but t4g\.small is arm64"):
        await made.ec2.images.choose(spec, made.ec2.site_of(spec).place)


@pytest.mark.parametrize(
    "spec",
    [wanting(subnet_id="subnet-0123456789abcdef0"), wanting(security_group_ids=("sg-0123456789abcdef0",))],
    ids=["subnet", "group"],
)
async def test_a_subnet_or_group_that_does_not_exist_is_refused(made: Account, spec: Spec) -> None:
    order = await made.order(spec)
    with pytest.raises(RuntimeRejected, match="-0123456789abcdef0") as caught:
        await made.ec2.machines.launch(order, made.attempts)
    assert caught.value.hint
    assert (await made.attempt(order)).outcome is Outcome.REFUSED


async def test_an_image_by_name_alone_is_not_trusted_when_ssm_is_not_there(made: Account) -> None:
    await made.here.set_faults(denied=["GetParameter"])
    image = await made.ec2.images.choose(SPEC, made.ec2.site_of(SPEC).place)
    client = await made.client()
    (found,) = (await client.describe_images(ImageIds=[image.id]))["Images"]
    assert found["OwnerId"] == "099720109477"
    assert found["Name"].endswith("20250822")


async def test_two_installations_do_not_see_each_other(made: Account) -> None:
    machine = await made.launch()
    async with account(made.here, owner=OwnerId("another")) as other:
        theirs = await other.launch()
        assert [one.id for one in await other.ec2.machines.owned(REGION)] == [theirs.id]
        await other.clean()
    assert [one.id for one in await made.ec2.machines.owned(REGION)] == [machine.id]


async def test_another_place_is_refused_and_not_touched(made: Account) -> None:
    order = await made.order()
    for change in ({"backend": "ec2"}, {"account": "123456789012"}, {"endpoint": "http://elsewhere"}):
        place = replace(order.site.place, **change)
        with pytest.raises(RuntimeRejected, match="this server works in"):
            await made.ec2.machines.terminate(order.sandbox_id, place, made.attempts)
        with pytest.raises(RuntimeRejected):
            await made.ec2.machines.find(order.sandbox_id, place)


async def test_a_region_that_does_not_answer_is_told_in_words(made: Account) -> None:
    site = made.ec2.site_of(SPEC)
    async with account(replace(made.here, endpoint="http://127.0.0.1:9")) as nowhere:
        with pytest.raises(RuntimeUnavailable, match="could not look at the machines in us-east-1"):
            await nowhere.ec2.machines.owned(REGION)
        with pytest.raises(RuntimeUnavailable, match="could not look up the type"):
            await nowhere.ec2.images.choose(SPEC, site.place)


async def test_no_credentials_says_where_they_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(RuntimeRejected, match="no usable AWS credentials") as caught:
        async with connect_ec2(Ec2Settings(), backend="ec2", owner=OWNER):
            pass
    assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")


async def test_the_local_region_is_reached_whatever_aws_and_proxy_settings_the_operator_has(
    here: RunningRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "does-not-exist")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/does/not/exist")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOPERATORSOWNKEY0")
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    async with account(here) as made:
        assert await made.ec2.machines.owned(REGION) == []
