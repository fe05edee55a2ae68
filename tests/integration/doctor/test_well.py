"""Nothing is wrong: what `ciab doctor` then says, asks and leaves behind, which is nothing."""

from tests.installation import PAIR, Installation, instances
from tests.region import RunningRegion


async def test_all_is_well_and_nothing_was_changed(named: Installation, here: RunningRegion) -> None:
    named.make_database()
    before = named.files()
    code, found = named.findings()
    assert code == 0
    assert {name for name, finding in found.items() if finding["status"] != "ok"} == {"quota"}
    assert list(found) == [
        *("configuration", "encryption key", "database", "credentials", "permissions", "instance type"),
        *("image", "subnet", "security group", "quota", "key pair", "launch", "key file", "price", "packer"),
    ]
    assert all(set(finding) == FIELDS for finding in found.values())
    assert found["packer"]["message"].startswith("1.9.4")
    assert "arn:aws:iam::000000000000" in found["credentials"]["message"]
    assert "198.51.100.7/32" in found["security group"]["message"]
    assert named.files() == before
    assert await instances(here) == []
    asked = [call for call in (await here.calls())["last"] if call["action"] == "RunInstances"]
    assert {call["result"] for call in asked} == {"DryRunOperation"}
    assert asked[-1]["parameters"]["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
    assert asked[-1]["parameters"]["MetadataOptions.HttpTokens"] == "required"
    assert "ciab-managed" in asked[-1]["parameters"].values()
    assert asked[-1]["parameters"]["KeyName"] == PAIR


FIELDS = {"check", "status", "tried", "message", "hint"}


async def test_a_missing_packer_is_a_warning(installation: Installation) -> None:
    (installation.folder / "packer").unlink()
    code, found = installation.findings()
    assert code == 0
    assert found["packer"]["status"] == "warning"


async def test_for_people_columns_are_aligned_and_plain(installation: Installation) -> None:
    code, out = installation.run()
    lines = out.splitlines()
    assert code == 0
    assert "\033" not in out
    assert lines[0].split() == ["CHECK", "RESULT", "TRIED", "FOUND"]
    column = lines[0].index("RESULT")
    assert {line[column:].split()[0] for line in lines[1:]} == {"ok", "skipped"}
    assert len(lines) == 16


async def test_usage_errors_have_their_own_exit_code(installation: Installation) -> None:
    process = installation.begin("--nonsense")
    process.communicate()
    assert process.returncode == 2
