"""`headrace slices | loads | snapshots | datasets | events`: what there is."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import text

from cli.output import show
from cli.session import ROOT, AsJson, Root, session
from shared.contracts.envelope import Record
from shared.contracts.topics import Topic
from shared.messaging.kafka import follow

SLICES = """
    SELECT DISTINCT ON (l.dataset, l.as_of, l.slice_key)
           l.dataset, l.slice_key, l.as_of, l.revision, l.status, l.rows_in, l.rows_loaded,
           l.rows_quarantined, l.load_id, s.load_id AS published_load, l.reasons,
           (SELECT string_agg(r ->> 'message', '; ') FROM jsonb_array_elements(l.reasons) AS r)
           AS why
    FROM headrace.loads AS l
    LEFT JOIN headrace.slices AS s USING (dataset, slice_key)
    WHERE (CAST(:dataset AS text) IS NULL OR l.dataset = :dataset) AND l.status <> 'unchanged'
    ORDER BY l.dataset, l.as_of, l.slice_key, l.started_at DESC
"""
LOADS = """
    SELECT load_id, dataset, slice_key, as_of, revision, kind, status, rows_in, rows_loaded,
           rows_quarantined, source_uri, requested_by, started_at, finished_at, withdrawn_at,
           corrects, correction, trains, changes, reasons
    FROM headrace.loads
    WHERE CAST(:dataset AS text) IS NULL OR dataset = :dataset
    ORDER BY started_at
"""
SNAPSHOTS = """
    SELECT snapshot_id, dataset, slice_key, as_of, known_at, load_id, manifest_uri, tables,
           pruned_at
    FROM headrace.snapshots
    WHERE CAST(:dataset AS text) IS NULL OR dataset = :dataset
    ORDER BY dataset, as_of, known_at
"""
DATASETS = """
    SELECT d.dataset, d.dataset_version, s.slice_key, d.as_of, d.snapshot_id, d.train_rows,
           d.test_rows, d.class_counts, d.manifest_uri, d.train_uri, d.test_uri, d.run_id,
           d.created_at
    FROM headrace.training_datasets AS d
    LEFT JOIN headrace.snapshots AS s USING (snapshot_id)
    WHERE CAST(:dataset AS text) IS NULL OR d.dataset = :dataset
    ORDER BY d.dataset, d.created_at
"""

app = typer.Typer()
Dataset = Annotated[str | None, typer.Argument(help="One dataset; else all.")]


def _query(root: Path, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    with session(root) as current, current.engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]


def _register(name: str, statement: str, columns: Sequence[str], help_text: str) -> None:
    @app.command(name, help=help_text)
    def command(dataset: Dataset = None, as_json: AsJson = False, root: Root = ROOT) -> None:
        rows = _query(root, statement, dataset=dataset)
        show(rows, columns, as_json=as_json, nothing=f"no {name} yet")


_register(
    "slices",
    SLICES,
    [
        "dataset",
        "slice_key",
        "as_of",
        "revision",
        "status",
        "rows_in",
        "rows_loaded",
        "rows_quarantined",
        "why",
    ],
    "Each slice and how its newest load stands.",
)
_register(
    "loads",
    LOADS,
    [
        "load_id",
        "dataset",
        "slice_key",
        "kind",
        "status",
        "revision",
        "rows_in",
        "rows_loaded",
        "rows_quarantined",
        "requested_by",
        "started_at",
        "finished_at",
    ],
    "Every attempt to bring a slice in.",
)
_register(
    "snapshots",
    SNAPSHOTS,
    ["snapshot_id", "dataset", "as_of", "known_at", "manifest_uri", "pruned_at"],
    "The frozen states.",
)
_register(
    "datasets",
    DATASETS,
    ["dataset", "dataset_version", "slice_key", "as_of", "train_rows", "test_rows", "created_at"],
    "The training datasets.",
)


def _short(value: Any) -> str:
    said = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= 120 else said[:119] + "…"


@app.command()
def events(
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """The events on the topics, oldest first."""
    with session(root) as current:
        records = follow(
            current.settings,
            tuple(Topic),
            from_beginning=True,
            stop=threading.Event(),
            until_idle_seconds=None if following else 1.0,
        )
        try:
            for record in records:
                typer.echo(_event_line(record, as_json=as_json))
        except KeyboardInterrupt:
            pass


def _event_line(record: Record, *, as_json: bool) -> str:
    value = (record.value or b"").decode(errors="replace")
    if as_json:
        try:
            payload = json.loads(value)
        except ValueError:
            payload = value
        return json.dumps(
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "headers": record.headers,
                "payload": payload,
            }
        )
    headers = record.headers
    return (
        f"{headers.get('ce_time', '')[:23]:<23}  {record.topic:<15}  "
        f"{headers.get('ce_subject', ''):<24}  {headers.get('ce_id', '')}  {_short(value)}"
    )
