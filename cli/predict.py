"""`headrace predict`: the champion's answers, about a text or about a file of rows."""

import json
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.session import EXIT_USAGE, ROOT, AsJson, Root, Session, fail, session
from shared.clock import utc_now

if TYPE_CHECKING:
    from services.trainer.prediction.answers import Predictor

app = typer.Typer()


@app.command()
def predict(
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    said: Annotated[
        str | None, typer.Option("--text", help="A text alone; all else counts as missing.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A CSV file of rows, with the spec's headers."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The CSV file to write, with --file.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            help="At which dates have their age; today by default.",
        ),
    ] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Ask the champion: --text "…" prints its answer, --file in.csv --out out.csv writes them."""
    if (said is None) == (file is None) or (file is None) != (out is None):
        fail('say either --text "…", or --file in.csv --out out.csv', EXIT_USAGE)
    with session(root) as current:
        at = (as_of or utc_now()).date()
        if said is not None:
            _answer_text(current, dataset, said, at, as_json=as_json)
        elif file is not None and out is not None:
            _answer_file(current, dataset, file, out, at, as_json=as_json)


def _predictor(current: Session, dataset: str) -> "Predictor":
    from services.trainer.prediction.serving import champion
    from services.trainer.registry import Registry  # with MLflow, which takes seconds to import
    from shared.object_store import ObjectStore

    settings = current.settings
    return champion(
        current.engine,
        ObjectStore(settings),
        Registry(settings.mlflow_tracking_uri),
        settings.datasets_dir,
        dataset,
    )


def _answer_text(current: Session, dataset: str, said: str, as_of: date, *, as_json: bool) -> None:
    predictor = _predictor(current, dataset)
    answers = predictor.answer_text(said, as_of)
    [predicted] = answers.predicted
    confidence = answers.confidence[0] if answers.confidence else None
    if as_json:
        facts = {
            "dataset": dataset,
            "predicted": predicted,
            "confidence": confidence,
            "model_name": predictor.model,
            "model_version": predictor.version,
        }
        typer.echo(json.dumps(facts))
        return
    sure = f" with confidence {confidence:.4f}" if confidence is not None else ""
    typer.echo(f"{predicted}{sure}, by {predictor.model} version {predictor.version}")


def _answer_file(
    current: Session, dataset: str, file: Path, out: Path, as_of: date, *, as_json: bool
) -> None:
    # Values are read here by the function that reads them when a slice is loaded; the two
    # services know nothing of each other, so it is handed over.
    from services.trainer.prediction.csv_file import predict_file
    from shared.reading.casting import typed_column

    predictor = _predictor(current, dataset)
    rows = predict_file(
        predictor,
        file,
        out,
        as_of=as_of,
        type_texts=partial(typed_column, may_have_nul=False),
        longest_field=current.settings.csv_block_bytes,
    )
    if as_json:
        facts = {
            "dataset": dataset,
            "rows": rows,
            "out": str(out),
            "model_name": predictor.model,
            "model_version": predictor.version,
        }
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{rows} rows to {out}, by {predictor.model} version {predictor.version}")
