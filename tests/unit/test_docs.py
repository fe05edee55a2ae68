"""What the documents claim, against the code."""

import json
import re
from pathlib import Path

import pytest

from ciab.control.steps import STEPS
from ciab.core.errors import CiabError, StepFailed
from ciab.server.errors import status_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

NO_PERMISSIONS = {"GetCallerIdentity", "DeleteOnTermination", "CreateTime"}
"""AWS allows the first to everybody, and the others are no actions."""


def calls_of_the_adapter() -> set[str]:
    text = "".join(file.read_text() for file in (ROOT / "src/ciab/adapters/ec2").rglob("*.py"))
    named = re.findall(
        r'"((?:Run|Describe|Terminate|Start|Stop|Get|Create|Delete|Modify)[A-Z][A-Za-z]+)"', text
    )
    return set(named) - NO_PERMISSIONS


def test_the_iam_policy_and_what_it_says_to_add_allow_what_the_adapter_calls_and_no_more() -> None:
    section = (ROOT / "docs/aws.md").read_text().partition("## The IAM policy")[2].partition("\n## ")[0]
    document, added = re.findall(r"```json\n(.*?)```(.*)", section, re.DOTALL)[0]
    actions = [statement["Action"] for statement in json.loads(document)["Statement"]]
    allowed = {one for action in actions for one in (action if isinstance(action, list) else [action])}
    optional = set(re.findall(r"`((?:ec2|servicequotas):[A-Za-z]+)`", added))
    assert {action.partition(":")[2] for action in allowed | optional} == calls_of_the_adapter()


def test_every_step_is_in_the_design_in_its_order() -> None:
    text = (ROOT / "docs/design.md").read_text()
    told = re.findall(r"^\| `([a-z_]+)` \|", text.partition("## Provisioning")[2], re.MULTILINE)
    assert told == [step.name for step in STEPS]


def test_every_error_in_the_design_has_the_number_it_has() -> None:
    text = (ROOT / "docs/design.md").read_text().partition("## Errors")[2]
    told = dict(re.findall(r"  ([a-z_]+) +(\d{3})\b", text))
    kinds = [CiabError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    known = {kind.code: str(status_of(kind("words"))) for kind in kinds if kind is not StepFailed}
    assert told
    assert told == {code: known.get(code) for code in told}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target
