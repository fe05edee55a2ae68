"""The `ciab` command in a process of its own, for tests of what a person or a script sees."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

SECS = 90.0


@dataclass(frozen=True)
class Result:
    """How a command ended. `lines` are those of standard error."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@dataclass(frozen=True)
class Ciab:
    """Calls of the command line against one server, with nothing of the caller's environment but this."""

    url: str
    more: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        """Run it to its end."""
        process = self.begin(*arguments)
        out, err = process.communicate(stdin, timeout=SECS)
        return Result(process.returncode, out, err.decode())

    def good(self, *arguments: str, stdin: bytes = b"") -> str:
        """Its standard output, without the last newline; it must succeed."""
        result = self(*arguments, stdin=stdin)
        assert result.code == 0, result.err
        return result.text.rstrip("\n")

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin it, with pipes on all three sides."""
        return subprocess.Popen(
            [sys.executable, "-m", "ciab.cli.main", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
        )

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "CIAB_SERVER_URL": self.url, **self.more}
