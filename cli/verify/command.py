"""`headrace verify`: the audit for a person, a line a check, then what differs."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy.exc import OperationalError

from cli.session import EXIT_FAILED, EXIT_USAGE, ROOT, AsJson, Root, fail, session
from shared.errors import ServerUnavailable, UnknownDataset

if TYPE_CHECKING:
    from cli.verify.findings import Audit, Finding

EXIT_UNSEEN = 3
"""Of an audit that found no difference and couldn't look at everything."""

app = typer.Typer()


@app.command()
def verify(
    dataset: Annotated[str | None, typer.Argument(help="One dataset; else all.")] = None,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Differences to list of each check.")
    ] = 20,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Recompute all that is stored from what it must follow from; exit 1 if anything differs.

    Exit 3 if nothing does, of what could be looked at.
    """
    from cli.verify.audit import examine  # with Arrow

    with session(root) as current:
        try:
            found = examine(
                current.settings,
                dataset,
                most=most,
                report=(lambda finding: None) if as_json else _say_check,
            )
        except UnknownDataset:
            fail(f"nothing is stored of a dataset {dataset!r}: see `headrace slices`", EXIT_USAGE)
            return
        except ServerUnavailable as error:
            fail(f"the audit came to no end: {error}", EXIT_UNSEEN)
        except OperationalError as error:
            fail(f"the audit came to no end: the database: {error.orig}", EXIT_UNSEEN)
    if as_json:
        typer.echo(json.dumps(_facts(found), indent=2))
    else:
        _say_end(found)
    if found.count:
        raise typer.Exit(EXIT_FAILED)
    if not found.is_whole:
        raise typer.Exit(EXIT_UNSEEN)


def _say_check(finding: "Finding") -> None:
    looked_at = ", ".join(f"{number:,} {what}" for what, number in finding.looked_at.items())
    verdict = "not seen" if finding.unseen else "well"
    if finding.count:
        verdict = f"{finding.count:,} differ"
    nothing = "nothing" if finding.unseen else "nothing there"
    typer.echo(f"{finding.check:<10} {verdict:<12} {looked_at or nothing}")


def _say_end(found: "Audit") -> None:
    for finding in found.findings:
        for said in (*finding.told, *finding.unseen):
            typer.echo(f"  {finding.check}: {said}")
    if found.under_way:
        typer.echo(", ".join(found.under_way))
    if not found.count:
        typer.echo("no differences" if found.is_whole else "no differences in what could be seen")
        return
    typer.echo(f"{found.count:,} difference{'' if found.count == 1 else 's'}:")
    for difference in found.differences:
        typer.echo(f"  {difference.check}: {difference.where}")
        typer.echo(f"    {difference.what}")
        typer.echo(f"    expected {difference.expected}")
        typer.echo(f"    found    {difference.found}")


def _facts(found: "Audit") -> dict[str, object]:
    return {
        "differences": found.count,
        "is_whole": found.is_whole,
        "under_way": list(found.under_way),
        "checks": [dataclasses.asdict(finding) for finding in found.findings],
    }
