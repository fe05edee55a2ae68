"""Write the reference in docs/configuration.md anew from the settings' models; `--check` only compares."""

import sys
from pathlib import Path

from ciab.server.config.rendering import reference

FILE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN = "<!-- made by scripts/config_reference.py: do not edit below -->\n"


def main() -> int:
    """Exit code 1: the file is not up to date."""
    written = FILE.read_text(encoding="utf-8")
    by_hand, _, _ = written.partition(BEGIN)
    wanted = f"{by_hand}{BEGIN}\n{reference()}"
    if "--check" in sys.argv[1:]:
        return 0 if wanted == written else 1
    FILE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
