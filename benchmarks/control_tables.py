"""What every event and every look asks of the control tables, timed as they hold more slices.

python -m benchmarks.control_tables [--slices N ...] [--datasets N] [--json FILE]
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, select, text

from benchmarks.servers import fresh_database, started
from services.ingestor.schedule.schedules import Schedules
from services.trainer.records import decisions, slice_standing
from services.validator.profiles import previous_profiles
from services.validator.turn import wait_for_turn
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested, Stage
from shared.contracts.spec_file import find_spec
from shared.database import stages
from shared.database.engine import make_engine
from shared.database.overview import read_overview
from shared.database.overview_queries import HISTORY
from shared.database.tables import outbox
from shared.load_requests import next_slice
from shared.messaging import inbox
from shared.messaging import outbox as outgoing
from shared.settings import Settings

RESULTS = Path(__file__).resolve().parent / "results"
SLICES = (1_000, 10_000, 100_000)
TABLES = 6
TIMES = 5
FIRST_DAY = date(2000, 1, 1)
SPEC = """
dataset: {name}
slices:
  naming: {{pattern: "{{date:%Y-%m-%d}}", first_as_of: 2000-01-01, every: day}}
  source: /nowhere
tables:
  t: {{key: [k], columns: {{k: string}}}}
schedule: {{cron: "0 4 1 1 *"}}
"""
FILL = """
    CREATE TEMPORARY TABLE made ON COMMIT DROP AS
    SELECT 'd' || lpad((n % :datasets)::text, 5, '0') AS dataset, n / :datasets AS day,
           to_char(DATE '2000-01-01' + n / :datasets, 'YYYY-MM-DD') AS slice_key,
           DATE '2000-01-01' + n / :datasets AS as_of, 'load-' || n AS load_id,
           TIMESTAMPTZ '2000-01-01' + n * INTERVAL '1 second' AS at
    FROM generate_series(0, :slices - 1) AS n;
    ANALYZE made;

    INSERT INTO headrace.loads (load_id, dataset, slice_key, as_of, revision, status, source_uri,
        requested_by, content_sha256, rows_in, rows_loaded, rows_quarantined, tables, changes,
        requested_at, started_at, finished_at)
    SELECT load_id, dataset, slice_key, as_of, 1, 'published', '/nowhere', 'benchmark',
        md5(load_id), 6000, 6000, 0, '[{"table": "t", "rows_loaded": 6000}]',
        '{"t": {"inserted": 10, "updated": 90, "unchanged": 5900, "deleted": 0}}',
        at, at, at + INTERVAL '9 seconds'
    FROM made;

    INSERT INTO headrace.slices
    SELECT dataset, slice_key, as_of, 1, load_id, md5(load_id), at FROM made;

    INSERT INTO headrace.snapshots
    SELECT 'snapshot-' || load_id, dataset, load_id, slice_key, as_of, at, 's3://x', md5(load_id),
        '{"t": {"rows": 6000}}'
    FROM made;

    INSERT INTO headrace.table_profiles (load_id, table_name, rows, null_shares)
    SELECT load_id, 't' || t, 6000, '{"a": 0.1, "b": 0, "c": 0, "d": 0.5, "e": 0, "f": 0}'
    FROM made, generate_series(1, :tables) AS t;

    INSERT INTO headrace.training_datasets
    SELECT dataset, md5(load_id), 'snapshot-' || load_id, as_of, 's3://x', 's3://x', 's3://x',
        4500, 1500, '{"test": {"true": 400, "false": 1100}}', 'run', at
    FROM made;

    INSERT INTO headrace.promotions (event_id, dataset, load_id, snapshot_id, as_of,
        dataset_version, model_name, model_version, run_id, promoted, decision, reason, metric,
        score, metrics, model_sha256, decided_at)
    SELECT 'ready-' || load_id, dataset, load_id, 'snapshot-' || load_id, as_of, md5(load_id),
        dataset || '_model', (day + 1)::text, 'run', day % 5 = 0, 'beats_champion', 'better',
        'roc_auc', 0.8, '{"roc_auc": 0.8}', md5(load_id), at
    FROM made;

    INSERT INTO headrace.stage_runs
    SELECT stage || load_id, stage, load_id, dataset, slice_key, 'done', 1, at, at, at, NULL
    FROM made, unnest(ARRAY['ingest', 'validate', 'snapshot', 'dataset', 'train']) AS stage;

    INSERT INTO headrace.outbox (source, event_id, topic, key, headers, value, created_at,
        published_at)
    SELECT e.source, CASE e.topic WHEN 'load-requested' THEN load_id ELSE e.topic || load_id END,
        e.topic, dataset,
        jsonb_build_object('ce_correlationid', load_id, 'ce_subject', dataset || '/' || slice_key),
        convert_to(jsonb_build_object('dataset', dataset, 'slice_key', slice_key,
            'padding', repeat('x', 300))::text, 'UTF8'), at, at
    FROM made, (VALUES ('ingestor', 'load-requested'), ('ingestor', 'slice-loaded'),
        ('validator', 'validated'), ('snapshotter', 'snapshotted'), ('trainer', 'dataset-ready'),
        ('trainer', 'model-published')) AS e (source, topic);

    INSERT INTO headrace.inbox
    SELECT e.consumer,
        CASE e.topic WHEN 'load-requested' THEN load_id ELSE e.topic || load_id END, at
    FROM made, (VALUES ('ingestor', 'load-requested'), ('validator', 'slice-loaded'),
        ('snapshotter', 'validated'), ('trainer', 'snapshotted'), ('trainer', 'dataset-ready'),
        ('notifier', 'model-published')) AS e (consumer, topic)
"""
"""Statements apart by `;` and a new line."""


def fill(engine: Engine, slices: int, datasets: int) -> None:
    """Record so many published slices, as if each had gone the whole way."""
    parameters = {"slices": slices, "datasets": datasets, "tables": TABLES}
    with engine.begin() as connection:
        for statement in FILL.strip().split(";\n"):
            connection.execute(text(statement), parameters)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def begin_last(engine: Engine, slices: int, datasets: int) -> None:
    """Have the last slice loaded and not yet validated, so that somebody has a turn to wait for."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE headrace.loads SET status = 'loaded' WHERE load_id = :load_id"),
            {"load_id": f"load-{slices - 1}"},
        )


def operations(engine: Engine, settings: Settings, slices: int) -> dict[str, Callable[[], object]]:
    """What is timed, by what it is for."""
    last = f"load-{slices - 1}"
    with engine.connect() as connection:
        dataset, slice_key, as_of = connection.execute(
            text("SELECT dataset, slice_key, as_of FROM headrace.loads WHERE load_id = :load_id"),
            {"load_id": last},
        ).one()
    spec = find_spec(settings.datasets_dir, dataset)
    tables = [f"t{number}" for number in range(1, TABLES + 1)]
    schedules = Schedules(engine, settings, utc_now)

    def asking(query: Callable[[Connection], object]) -> Callable[[], object]:
        def ask() -> object:
            with engine.connect() as connection:
                return query(connection)

        return ask

    def look(connection: Connection) -> object:
        return read_overview(connection, settings.datasets_dir, lambda spec, row: None)

    unpublished = (
        select(outbox)
        .where(outbox.c.source == "ingestor", outbox.c.published_at.is_(None))
        .order_by(outbox.c.outbox_id)
        .limit(100)
    )
    return {
        "event: inbox, stage run, outbox": lambda: _event(engine, dataset, slice_key),
        "relay: what is to be published": asking(lambda c: c.execute(unpublished).all()),
        "request: the dataset's next slice": asking(lambda c: next_slice(c, spec)),
        "validator: its turn": lambda: wait_for_turn(engine, last),
        "validator: the slice before": asking(
            lambda c: previous_profiles(c, tables, dataset, slice_key, as_of)
        ),
        "trainer: where the slice stands": asking(
            lambda c: slice_standing(c, dataset, slice_key, last, as_of)
        ),
        "trainer: decisions about the model": asking(lambda c: decisions(c, f"{dataset}_model")),
        "scheduler: one look": schedules.run_due,
        "headrace status": asking(look),
        "headrace history of one dataset": asking(
            lambda c: c.execute(text(HISTORY), {"dataset": dataset}).all()
        ),
    }


def _event(engine: Engine, dataset: str, slice_key: str) -> None:
    """All that the machinery does about an event, rolled back."""
    payload = LoadRequested(
        dataset=dataset,
        slice_key=slice_key,
        source_uri="/nowhere",
        as_of=FIRST_DAY,
        requested_by="benchmark",
    )
    event = Event(payload=payload, source="ingestor", time=utc_now())
    with engine.connect() as connection:
        inbox.is_done(connection, "ingestor", event.id)
        stages.start(connection, event, Stage.INGEST, utc_now())
        inbox.claim(connection, "ingestor", event.id)
        stages.finish(connection, event, Stage.INGEST, utc_now())
        caused = event.caused(payload, source="ingestor", time=utc_now(), number=1)
        outgoing.put(connection, caused)
        connection.rollback()


def measure(slices: int, datasets: int, root: Path, environment: dict[str, str]) -> dict[str, Any]:
    """The median milliseconds of each operation, and what the tables take."""
    print(f"{slices:,} slices of {datasets} datasets", file=sys.stderr, flush=True)
    with fresh_database(environment, root) as own:
        folder = root / f"specs-{uuid4().hex[:8]}"
        folder.mkdir()
        for number in range(datasets):
            name = f"d{number:05d}"
            (folder / f"{name}.yaml").write_text(SPEC.format(name=name))
        own = own | {"DATASETS_DIR": str(folder)}
        settings = Settings.model_validate({name.lower(): value for name, value in own.items()})
        engine = make_engine(settings, application="benchmark")
        fill(engine, slices, datasets)
        begin_last(engine, slices, datasets)
        found = {}
        for name, do in operations(engine, settings, slices).items():
            do()
            taken = []
            for _ in range(TIMES):
                begun = time.perf_counter()
                do()
                taken.append(1000 * (time.perf_counter() - begun))
            found[name] = median(taken)
        size = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND {}"
        with engine.connect() as connection:
            mine = size.format("relnamespace = 'headrace'::regnamespace")
            stored = int(connection.execute(text(mine)).scalar_one())
        engine.dispose()
    return {"slices": slices, "datasets": datasets, "milliseconds": found, "bytes": stored}


def table(sizes: Sequence[dict[str, Any]]) -> str:
    """The operations by size, for people."""
    lines = [f"{'milliseconds at':<38}" + "".join(f"{s['slices']:>12,}" for s in sizes)]
    for name in sizes[0]["milliseconds"]:
        figures = "".join(f"{size['milliseconds'][name]:>12.1f}" for size in sizes)
        lines.append(f"{name:<38}{figures}")
    stored = "".join(f"{size['bytes'] / 1e6:>12,.0f}" for size in sizes)
    return "\n".join([*lines, f"{'MB stored':<38}{stored}"])


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table and write its JSON."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.control_tables", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--slices", type=int, nargs="+", default=SLICES)
    parser.add_argument("--datasets", type=int, default=10, help="that the slices are of")
    parser.add_argument("--json", type=Path, help="default: a new file in benchmarks/results/")
    asked = parser.parse_args(given)
    begun = datetime.now(UTC)
    with TemporaryDirectory(prefix="headrace-benchmark-") as directory:
        root = Path(directory)
        root.chmod(0o711)  # where Postgres has to run as another user
        with started(root, os.environ.get("DATABASE_URL")) as environment:
            sizes = [measure(slices, asked.datasets, root, environment) for slices in asked.slices]
    print(table(sizes))
    facts = {
        "begun": begun.isoformat(),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "sizes": sizes,
    }
    file = asked.json or RESULTS / f"control-tables-{begun:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written to {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
