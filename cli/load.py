"""`headrace load`: ask for a slice to be loaded, and follow it to its model."""

import json
import time
from datetime import datetime
from typing import Annotated

import typer

from cli.progress import Progress, progress_of
from cli.session import EXIT_FAILED, ROOT, AsJson, Root, Session, fail, session
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import Payload, Stage
from shared.contracts.spec_file import find_spec
from shared.load_requests import NothingToLoad, load_request
from shared.messaging import outbox
from shared.messaging.kafka import Producer
from shared.observability import spans

SOURCE = "cli"
POLL_SECONDS = 0.1
EXIT_TIMEOUT = 4

app = typer.Typer()


def publish(session: Session, payload: Payload) -> Event[Payload]:
    """Publish an event that nothing caused, and wait for the broker's word."""
    event = Event(payload=payload, source=SOURCE, time=utc_now())
    publish_event(session, event)
    return event


def publish_event(session: Session, event: Event[Payload]) -> None:
    """Publish an event, wait for the broker's word, and keep it in the outbox.

    Where the broker doesn't take it, it isn't kept either.
    """
    producer = Producer(session.settings)
    spans.configure_traces(session.settings, SOURCE)
    begun_ns = spans.now_ns()
    try:
        with session.engine.begin() as connection:
            outbox.put(connection, event, is_published=True)
            producer.publish(
                event.payload.topic, event.key.encode(), event.headers(), event.value()
            )
        spans.published(event.headers(), event.payload.topic, begun_ns)
    finally:
        producer.close()
        spans.end_traces()


@app.command()
def load(
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    slice_key: Annotated[
        str | None, typer.Option("--slice", help="The slice; the next one not loaded by default.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The slice's folder, or the folder above it: a path or s3://bucket/prefix.",
        ),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], help="Its date; by its name by default."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait at most; exit code 4 after.")
    ] = 3600.0,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Publish load-requested. Exit 0; with --wait non-zero, and why, if the slice is refused.

    Where nothing is left to load, that is said, and is no failure.
    """
    with session(root) as current:
        try:
            with current.engine.connect() as connection:
                payload = load_request(
                    connection,
                    current.settings,
                    dataset=dataset,
                    slice_key=slice_key,
                    source=source,
                    as_of=as_of.date() if as_of else None,
                    requested_by=SOURCE,
                )
        except NothingToLoad as answer:
            typer.echo(json.dumps(_nothing(answer)) if as_json else str(answer))
            return
        event = publish(current, payload)
        if not wait:
            facts = {"load_id": event.id, **payload.model_dump(mode="json")}
            said = f"requested {event.subject} from {payload.source_uri}: load {event.id}"
            typer.echo(json.dumps(facts) if as_json else said)
            return
        spec = find_spec(current.settings.datasets_dir, dataset)
        found = follow(
            current, event, with_model=spec.training is not None, timeout=timeout, quiet=as_json
        )
        if as_json:
            typer.echo(json.dumps(summary(found), default=str))
        else:
            say_end(event, found)
        if not found.is_good:
            raise typer.Exit(EXIT_FAILED)


def follow(
    session: Session, event: Event[Payload], *, with_model: bool, timeout: float, quiet: bool
) -> Progress:
    """Wait until nothing more will come of the load, with a line for each stage."""
    deadline = time.monotonic() + timeout
    told: set[tuple[Stage, str]] = set()
    while True:
        with session.engine.connect() as connection:
            found = progress_of(connection, event.id)
        for stage, run in found.runs.items():
            if not quiet and (stage, run["state"]) not in told:
                told.add((stage, run["state"]))
                seconds = found.seconds(stage)
                took = f" in {seconds:.2f} s" if seconds is not None else ""
                typer.echo(f"{event.subject}  {stage:<8}  {run['state']}{took}")
        if found.is_over(with_model=with_model):
            return found
        if session.stack and (deaths := session.stack.dead()):
            death = deaths[0]
            fail(
                f"{death.name} has died; `headrace up` starts it again and the load goes on. "
                f"The end of {death.log}:\n{death.tail}"
            )
        if time.monotonic() > deadline:
            fail(f"still {found.status} after {timeout:g} s; the load goes on", EXIT_TIMEOUT)
        time.sleep(POLL_SECONDS)


def summary(found: Progress) -> dict[str, object]:
    """What became of a load, for a program."""
    load, promotion = found.load or {}, found.promotion or {}
    return {
        "load_id": found.load_id,
        "status": found.status,
        "rows_in": load.get("rows_in"),
        "rows_loaded": load.get("rows_loaded"),
        "rows_quarantined": load.get("rows_quarantined"),
        "changes": load.get("changes"),
        "snapshot_id": found.snapshot["snapshot_id"] if found.snapshot else None,
        "dataset_version": promotion.get("dataset_version"),
        "model_version": promotion.get("model_version"),
        "promoted": promotion.get("promoted"),
        "reasons": found.reasons(),
    }


def _nothing(answer: NothingToLoad) -> dict[str, object]:
    return {
        "status": "nothing_to_load",
        "dataset": answer.dataset,
        "slice_key": answer.slice_key,
        "refused": list(answer.refused),
        "detail": str(answer),
    }


def say_end(event: Event[Payload], found: Progress) -> None:
    """What became of a load, for a person."""
    typer.echo(f"{event.subject}: {found.status}")
    for reason in found.reasons():
        typer.echo(f"  {reason}", err=True)
    if found.promotion:
        made = found.promotion
        typer.echo(
            f"  {made['model_name']} version {made['model_version']} "
            f"({made['metric']} {made['score']:.4f}): {made['reason']}"
        )
