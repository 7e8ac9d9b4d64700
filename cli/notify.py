"""`headrace notify`: whether messages to people arrive, and what became of them."""

from typing import Annotated

import typer
from sqlalchemy import text

from cli.output import show
from cli.session import EXIT_FAILED, ROOT, AsJson, Root, fail, session

NOTIFICATIONS = """
    SELECT event_id, target, event_type, dataset, slice_key, title, body, kind, state, attempts,
           error, created_at, next_try_at, sent_at
    FROM headrace.notifications
    ORDER BY created_at DESC, event_id, target
    LIMIT :newest
"""
TITLE = "Headrace can reach you"
BODY = """This is a test, sent by `headrace notify test`.
Messages about refused slices, model versions and dead letters come the same way."""

app = typer.Typer()
notify = typer.Typer(no_args_is_help=True, help="Messages to people.")
app.add_typer(notify, name="notify")


@notify.command()
def test(root: Root = ROOT) -> None:
    """Send a test message to each target of NOTIFY_URLS now; exit 1 if one doesn't take it."""
    from services.notifier.delivery import Outcome
    from services.notifier.messages import Kind
    from services.notifier.targets import read_targets

    with session(root) as current:
        targets = read_targets(current.settings)
    if not targets.usable and not targets.faults:
        fail("NOTIFY_URLS is not set, or was not when the stack was started: nobody is told")
    is_good = not targets.faults
    for target in targets.usable:
        delivery = target.send(TITLE, BODY, Kind.INFO.value)
        if delivery.outcome is Outcome.SENT:
            typer.echo(f"{target.name}: OK")
        else:
            is_good = False
            typer.echo(f"{target.name}: failed: {delivery.error}")
    for fault in targets.faults:
        typer.echo(f"error: {fault}", err=True)
    if not is_good:
        raise typer.Exit(EXIT_FAILED)


@notify.command("list")
def list_notifications(
    newest: Annotated[int, typer.Option("--newest", min=1, help="How many.")] = 50,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """The newest messages and whether they were sent, the newest last."""
    with session(root) as current, current.engine.connect() as connection:
        found = connection.execute(text(NOTIFICATIONS), {"newest": newest}).mappings()
        rows = [dict(row) for row in found][::-1]
    columns = ["created_at", "target", "state", "attempts", "sent_at", "title", "error"]
    show(rows, columns, as_json=as_json, nothing="no messages yet")
