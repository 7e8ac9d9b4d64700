"""`headrace withdraw`: take back what a published slice brought."""

import getpass
import json
from typing import Annotated

import typer

from cli.load import follow, publish, say_end, summary
from cli.session import EXIT_FAILED, ROOT, AsJson, Root, fail, session
from shared.contracts.spec_file import find_spec
from shared.withdraw_requests import withdraw_request

app = typer.Typer()


@app.command()
def withdraw(
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    slice_key: Annotated[str, typer.Argument(help="The slice to take back.")],
    reason: Annotated[str, typer.Option("--reason", help="Kept with the withdrawal.")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait at most; exit code 4 after.")
    ] = 3600.0,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Undo a slice by history: the tables say what they would had it never been loaded.

    What was known before stays known; there is a new snapshot, and what follows from one. The slice
    can be loaded again, by its name.
    """
    if not reason.strip():
        fail("say why with --reason: it is kept with the withdrawal")
    with session(root) as current:
        spec = find_spec(current.settings.datasets_dir, dataset)
        with current.engine.connect() as connection:
            payload = withdraw_request(
                connection,
                current.settings,
                dataset=dataset,
                slice_key=slice_key,
                reason=reason,
                requested_by=getpass.getuser(),
            )
        event = publish(current, payload)
        if not wait:
            facts = {"load_id": event.id, **payload.model_dump(mode="json")}
            said = f"asked to withdraw {event.subject}: load {event.id}"
            typer.echo(json.dumps(facts) if as_json else said)
            return
        found = follow(
            current, event, with_model=spec.training is not None, timeout=timeout, quiet=as_json
        )
        if as_json:
            typer.echo(json.dumps(summary(found), default=str))
        else:
            say_end(event, found)
        if not found.is_good:
            raise typer.Exit(EXIT_FAILED)
