"""An installation to run `ciab doctor` in: a configuration, a home and an environment of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ciab.adapters.db.prepare import prepare
from ciab.adapters.vault import AesGcmVault, Key, replace_key_file
from tests.region import RunningRegion
from tests.server import toml

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIALOCALREGION00000", "AWS_SECRET_ACCESS_KEY": "any"}
PAIR = "operator"

Found = Mapping[str, Mapping[str, Any]]


@dataclass
class Installation:
    """A configuration, a home and an environment to run the doctor in; none of its checks finds a fault."""

    folder: Path
    ec2: dict[str, Any]
    backend: str = "ec2"
    more: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=lambda: dict(CREDENTIALS))
    text: str | None = None
    """The configuration as a text, instead of what the other fields say."""

    @property
    def file(self) -> Path:
        return self.folder / "config.toml"

    @property
    def temporary(self) -> Path:
        """Where programs make files for a while."""
        return self.folder / "tmp"

    @property
    def database(self) -> Path:
        return self.folder / "data" / "ciab.db"

    @property
    def key_file(self) -> Path:
        return self.folder / ".ssh" / f"{PAIR}.pem"

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        self.file.write_text(self.text if self.text is not None else toml(self._config()))
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.temporary.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "ciab.cli.main", "doctor", *words],
            cwd=self.folder,
            env={**kept, "HOME": str(self.folder), "TMPDIR": str(self.temporary), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Exit code and standard output."""
        process = self.begin(*words)
        out, err = process.communicate(timeout=90)
        assert err == ""
        return process.returncode, out

    def findings(self) -> tuple[int, Found]:
        code, out = self.run("-o", "json")
        document = json.loads(out)
        assert document["ok"] is (code == 0)
        return code, {finding["check"]: finding for finding in document["findings"]}

    def wrong(self) -> Found:
        """The faults, of which there must be one at least."""
        code, found = self.findings()
        assert code == 1
        return {name: finding for name, finding in found.items() if finding["status"] == "error"}

    def files(self) -> Mapping[str, tuple[int, int]]:
        """All below the folder but its configuration: when each was changed, and its size."""
        every = [path for path in self.folder.rglob("*") if path not in (self.file, self.temporary)]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in every}

    def make_database(self) -> None:
        self.database.parent.mkdir()
        key = Key.fresh()
        replace_key_file(self.database.with_name("encryption.key"), key)
        prepare(self.database, AesGcmVault(key))

    def _config(self) -> Mapping[str, Any]:
        return {
            "database": {"url": f"sqlite:///{self.database}"},
            "packer": {"binary_path": str(self.folder / "packer")},
            "runtime": {"backend": self.backend, "ec2": self.ec2},
            **self.more,
        }


async def security_group(here: RunningRegion, *sources: str) -> str:
    """A new one in the default VPC, which lets these in on port 22."""
    async with here.client("ec2") as ec2:
        vpcs = await ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
        made = await ec2.create_security_group(
            GroupName=f"of {time.monotonic_ns()}", Description="a test", VpcId=vpcs["Vpcs"][0]["VpcId"]
        )
        ranges = [{"CidrIp": source} for source in sources]
        rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}
        await ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=[rule])
        return str(made["GroupId"])


async def instances(here: RunningRegion) -> list[Any]:
    """Whatever was ever launched and is still shown."""
    async with here.client("ec2") as ec2:
        found = await ec2.describe_instances()
    return [one["InstanceId"] for reservation in found["Reservations"] for one in reservation["Instances"]]
