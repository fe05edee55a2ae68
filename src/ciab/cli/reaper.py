"""`ciab gc`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ciab.cli import output
from ciab.cli.command import Invocation
from ciab.cli.progress import Progress
from ciab.core.errors import CiabError

if TYPE_CHECKING:
    from ciab.schema.reaper import Verdict


async def gc(
    invocation: Invocation,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would end, and why")] = False,
    owner: Annotated[
        str | None,
        typer.Option("--owner", metavar="ID", help="Of another installation, whose database is lost"),
    ] = None,
) -> None:
    """End what no live sandbox owns any more.

    That is machines, volumes and network interfaces with this installation's tags, in every region that it
    ever used, those that its database does not know included. What carries the tag ciab-keep is spared,
    and so is what is younger than the grace period.
    """
    async with invocation.client() as client:
        with Progress(quiet=invocation.json) as progress:
            progress.doing("looking twice at every region that was ever used")
            verdicts = await client.collect_garbage(dry_run=dry_run, owner=owner)
    if invocation.json:
        output.show_json(verdicts)
    else:
        describe(verdicts)
    tried = [verdict.action for verdict in verdicts if verdict.action in ("ended", "failed")]
    if failed := tried.count("failed"):
        raise CiabError(f"{failed} of {len(tried)} could not be ended", hint="try again")


def describe(verdicts: "Sequence[Verdict]") -> None:
    """A line for each thing that was found without an owner."""
    if not verdicts:
        output.say("there is nothing to collect")
        return
    columns = ("ACTION", "KIND", "ID", "REGION", "SANDBOX", "WHY")
    output.show_table(columns, [_row(verdict) for verdict in verdicts])


def _row(verdict: "Verdict") -> tuple[str, ...]:
    action = verdict.action.replace("_", " ")
    return (action, str(verdict.kind), verdict.id, verdict.region, verdict.sandbox_id, verdict.reason)
